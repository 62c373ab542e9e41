"""Giving a board the keys of a cloud: server key and address, and a device key. USB fact sheet 5.3 and 5.4.

Server key and address are one record, written in one go and read back: recent Device OS throws an invalid record
away at start-up and goes back to Particle's cloud. What is right already is not written again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from hil.device.keys import (
    ServerAddress,
    der_length,
    device_public_from_private_der,
    generate_device_key,
    load_private,
    private_der,
    public_der,
    server_record,
)
from hil.device.platforms import Platform, Transport, UsbMode
from hil.errors import FlashError, HilError, ProvisionError, UsageError, WireError
from hil.usb.dfu import DCT, DfuUtil
from hil.usb.sysfs import UsbBoard


class KeyHolder(Protocol):
    """What provisioning needs of a board."""

    @property
    def platform(self) -> Platform: ...

    @property
    def usb(self) -> UsbBoard: ...

    def enter_dfu(self) -> DfuUtil: ...

    def leave_dfu(self) -> None: ...


class ServerPublicKeys(Protocol):
    """The cloud's public keys as SPKI DER: RSA-2048 for TCP boards, P-256 for UDP boards."""

    @property
    def rsa_public_der(self) -> bytes: ...

    @property
    def ec_public_der(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class ProvisionReport:
    """``public_key`` is the device's as SPKI DER; ``written`` names what was not right before."""

    public_key: bytes
    written: tuple[str, ...]


def public_key_of_slot(platform: Platform, slot: bytes) -> bytes | None:
    """The public key, as the board will present it, of the device key slot; ``None`` if the slot has no key."""
    try:
        key = load_private(slot)
        if platform.transport is Transport.TCP:
            der = slot[: der_length(slot)]
            return device_public_from_private_der(der) if isinstance(key, rsa.RSAPrivateKey) else None
    except WireError:
        return None
    return public_der(key) if isinstance(key, ec.EllipticCurvePrivateKey) else None


def provision(board: KeyHolder, server: ServerPublicKeys, address: ServerAddress | str) -> ProvisionReport:
    """Bring the keys of ``board`` in order for the cloud with ``server``'s keys at ``address``.

    The board ends in normal mode and answers. Raises ``ProvisionError``.
    """
    record = _record(board.platform, server, address)
    try:
        dfu = board.enter_dfu()
        public_key, made = _device_key(dfu)
        changed = _server_record(dfu, record)
        board.leave_dfu()
    except FlashError as error:
        raise _failed(board, error) from error
    return ProvisionReport(public_key, tuple(["device key"] * made + ["server record"] * changed))


def read_public_key(board: KeyHolder) -> bytes:
    """The device's public key, read over DFU; the board ends in the mode it was in. Raises ``ProvisionError``."""
    was = board.usb.mode
    try:
        dfu = board.enter_dfu()
        places = board.platform.family.keys
        key = public_key_of_slot(board.platform, _read(dfu, places.device_key, places.device_key_size))
        if was is UsbMode.NORMAL:
            board.leave_dfu()
    except FlashError as error:
        raise _failed(board, error) from error
    if key is None:
        raise ProvisionError(
            f"{board} has no device key", hint="provision it: a key is made when there is none"
        )
    return key


def _failed(board: KeyHolder, error: HilError) -> ProvisionError:
    return ProvisionError(
        f"keys of {board}: {error.what}", expected=error.expected, found=error.found, hint=error.hint
    )


def _record(platform: Platform, server: ServerPublicKeys, address: ServerAddress | str) -> bytes:
    key = server.rsa_public_der if platform.transport is Transport.TCP else server.ec_public_der
    if isinstance(address, str):
        address = ServerAddress(address, platform.transport.port)
    if platform.transport is Transport.DTLS and address.port not in (None, Transport.DTLS.port):
        raise UsageError(
            f"{platform.display} cannot use port {address.port}",
            expected=f"port {Transport.DTLS.port}: UDP boards ignore the port that is written into them",
        )
    return server_record(platform, key, address)


def _device_key(dfu: DfuUtil) -> tuple[bytes, bool]:
    """The device's public key, and whether a key had to be made."""
    platform = dfu.board.platform
    places = platform.family.keys
    known = public_key_of_slot(platform, _read(dfu, places.device_key, places.device_key_size))
    if known is not None:
        return known, False
    slot = private_der(generate_device_key(platform)).ljust(places.device_key_size, b"\xff")
    _write(dfu, places.device_key, slot, "device key")
    made = public_key_of_slot(platform, slot)
    if made is None:
        raise ProvisionError(f"cannot make a device key for {platform.display}")
    return made, True


def _server_record(dfu: DfuUtil, record: bytes) -> bool:
    """Whether the server record had to be written."""
    place = dfu.board.platform.family.keys.server_record
    if _read(dfu, place, len(record)) == record:
        return False
    _write(dfu, place, record, "server key and address")
    return True


def _write(dfu: DfuUtil, offset: int, data: bytes, what: str) -> None:
    dfu.download(DCT, offset, data)
    found = dfu.upload(DCT, offset, len(data))
    if found != data:
        place = next(index for index, (a, b) in enumerate(zip(found, data, strict=True)) if a != b)
        raise ProvisionError(
            f"{dfu.name} did not keep its {what}",
            expected=f"what was written at offset {offset}",
            found=f"a difference {place} bytes into it",
            hint="is the board protected? Are its system parts valid? (a Photon's DCT needs them)",
        )


def _read(dfu: DfuUtil, offset: int, size: int) -> bytes:
    """Read from the DCT; the first read after entering DFU mode may fail and is tried once more."""
    try:
        return dfu.upload(DCT, offset, size)
    except FlashError:
        return dfu.upload(DCT, offset, size)
