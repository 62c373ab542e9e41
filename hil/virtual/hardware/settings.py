"""The configuration flash (DCT): keys, server address, claim code and flags at their real offsets.

Facts: USB fact sheet 5.3 and 5.4, protocol fact sheet 2.3.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from hil.device.keys import (
    ServerAddress,
    der_length,
    generate_device_key,
    load_public,
    private_der,
    public_der,
    server_record,
)
from hil.device.platforms import Platform, Transport
from hil.device.releases import version_tuple
from hil.device.requests import KeyType
from hil.errors import WireError
from hil.virtual.hardware.flash import Flash

_CLAIM_CODE = (1762, 63)
_CLAIMED = 1825
_SOFTAP_PREFIX = (1826, 26)
_SOFTAP_SUFFIX = (1852, 6)
_CLOUD_TRANSPORT = 2977
_DEVICE_SECRET = (8119, 15)
_SETUP_DONE = 8134
_YES = ord("1")
_NOT_DIALLABLE = ("0.0.0.0", "255.255.255.255")


@dataclass(frozen=True, slots=True)
class Field:
    """Offset and size in bytes."""

    offset: int
    size: int


KEY_FIELDS = {
    KeyType.TCP_DEVICE_PRIVATE: Field(34, 1216),
    KeyType.TCP_DEVICE_PUBLIC: Field(1250, 384),
    KeyType.TCP_SERVER_PUBLIC: Field(2082, 384),
    KeyType.UDP_DEVICE_PRIVATE: Field(3106, 192),
    KeyType.UDP_DEVICE_PUBLIC: Field(2978, 128),
    KeyType.UDP_SERVER_PUBLIC: Field(3298, 192),
}
_ADDRESS_FIELDS = {Transport.TCP: Field(2466, 128), Transport.DTLS: Field(3490, 128)}


class Settings:
    """Typed view of the configuration flash. Changes are kept at once."""

    def __init__(self, dct: Flash, platform: Platform) -> None:
        self._dct = dct
        self._platform = platform

    # -- keys ----------------------------------------------------------------------------------------

    def key(self, kind: KeyType) -> bytes | None:
        """The DER in a key field, or ``None`` when it holds none."""
        stored = self.key_field(kind)
        try:
            return stored[: der_length(stored)]
        except WireError:
            return None

    def key_field(self, kind: KeyType) -> bytes:
        """All bytes of a key field, whatever they are."""
        field = KEY_FIELDS[kind]
        return self._dct.read(field.offset, field.size)

    def set_key(self, kind: KeyType, der: bytes) -> None:
        """Write a key field, padded with 0xFF. Raises ``WireError`` if it does not fit."""
        field = KEY_FIELDS[kind]
        if len(der) > field.size:
            raise WireError("key too long for its field", expected=f"{field.size} bytes", found=str(len(der)))
        self._write(field.offset, der.ljust(field.size, b"\xff"))

    def device_private_der(self) -> bytes | None:
        """The device key of the board's own transport."""
        return self.key(self._own(KeyType.TCP_DEVICE_PRIVATE, KeyType.UDP_DEVICE_PRIVATE))

    def server_public_der(self) -> bytes | None:
        """The server key of the board's own transport."""
        return self.key(self._own(KeyType.TCP_SERVER_PUBLIC, KeyType.UDP_SERVER_PUBLIC))

    def ensure_device_key(self) -> bool:
        """Make a device key when there is none, as a board does at its first start. True when it made one."""
        if self.device_private_der() is not None:
            return False
        key = generate_device_key(self._platform)
        self.set_key(self._own(KeyType.TCP_DEVICE_PRIVATE, KeyType.UDP_DEVICE_PRIVATE), private_der(key))
        self.set_key(self._own(KeyType.TCP_DEVICE_PUBLIC, KeyType.UDP_DEVICE_PUBLIC), public_der(key))
        return True

    # -- server --------------------------------------------------------------------------------------

    def stored_address(self, transport: Transport) -> ServerAddress | None:
        """What the address record of ``transport`` says, port as stored."""
        field = _ADDRESS_FIELDS[transport]
        try:
            return ServerAddress.decode_record(self._dct.read(field.offset, field.size))
        except WireError:
            return None

    def set_address(self, transport: Transport, address: ServerAddress) -> None:
        """Write an address record. Raises ``UsageError`` for a host that does not fit."""
        self._write(_ADDRESS_FIELDS[transport].offset, address.encode_record())

    def server_address(self) -> ServerAddress | None:
        """Where to dial. The port of a UDP record does not count, 5684 does."""
        transport = self._platform.transport
        stored = self.stored_address(transport)
        if stored is None:
            return None
        if transport is Transport.DTLS:
            return ServerAddress(stored.host, transport.port)
        return ServerAddress(stored.host, stored.port or transport.port)

    def check_server(self, device_os: str) -> bool:
        """The look at key and address at start-up; true when the production server was put back.

        4.1, 4.2 and 5.3 onwards restore it when either is invalid. Other releases only fill in a blank key.
        """
        version = version_tuple(device_os)
        validates = (4, 1, 0) <= version < (5, 0, 0) or version >= (5, 3, 0)
        bad = not self._server_valid() if validates else self._server_blank()
        if bad:
            self.restore_production_server()
        return bad

    def restore_production_server(self) -> None:
        """Write the built-in server key and address."""
        record = production_server_record(self._platform)
        self._write(self._server_field.offset, record)

    def _server_valid(self) -> bool:
        key, address = self.server_public_der(), self.server_address()
        if key is None or address is None or address.host in _NOT_DIALLABLE:
            return False
        try:
            load_public(key)
        except WireError:
            return False
        return True

    def _server_blank(self) -> bool:
        return self._dct.read(self._server_field.offset, 1) == b"\xff"

    @property
    def _server_field(self) -> Field:
        return KEY_FIELDS[self._own(KeyType.TCP_SERVER_PUBLIC, KeyType.UDP_SERVER_PUBLIC)]

    def _own(self, tcp: KeyType, udp: KeyType) -> KeyType:
        return tcp if self._platform.transport is Transport.TCP else udp

    # -- the rest ------------------------------------------------------------------------------------

    @property
    def claim_code(self) -> str | None:
        """The stored claim code, up to 63 characters."""
        return self._text(*_CLAIM_CODE)

    @claim_code.setter
    def claim_code(self, code: str | None) -> None:
        self._write(_CLAIM_CODE[0], (code or "").encode()[: _CLAIM_CODE[1]].ljust(_CLAIM_CODE[1], b"\0"))

    def clear_claim_code(self) -> None:
        """What a board does when the cloud took the code: its first byte is cleared, and the board is claimed."""
        self._write(_CLAIM_CODE[0], b"\0")
        self.claimed = True

    def set_softap_name(self, prefix: str, suffix: str) -> None:
        """The name of a Photon's own network: prefix of up to 25 bytes behind their number, suffix of up to 6."""
        text = prefix.encode()[: _SOFTAP_PREFIX[1] - 1]
        self._write(_SOFTAP_PREFIX[0], bytes([len(text)]) + text)
        self._write(_SOFTAP_SUFFIX[0], (suffix.encode() + b"\0")[: _SOFTAP_SUFFIX[1]])

    @property
    def claimed(self) -> bool:
        return self._dct.read(_CLAIMED, 1)[0] == _YES

    @claimed.setter
    def claimed(self, value: bool) -> None:
        self._write(_CLAIMED, bytes([_YES if value else ord("0")]))

    @property
    def setup_done(self) -> bool:
        return self._dct.read(_SETUP_DONE, 1) == b"\x01"

    @setup_done.setter
    def setup_done(self, value: bool) -> None:
        self._write(_SETUP_DONE, b"\x01" if value else b"\xff")

    @property
    def device_secret(self) -> str | None:
        """15 characters, or ``None`` when never written."""
        return self._text(*_DEVICE_SECRET)

    @device_secret.setter
    def device_secret(self, secret: str) -> None:
        self._write(_DEVICE_SECRET[0], secret.encode()[: _DEVICE_SECRET[1]])

    @property
    def transport(self) -> Transport:
        """The transport chosen in flash; only the Electron has a choice."""
        if self._platform.family.chooses_transport and self._dct.read(_CLOUD_TRANSPORT, 1) == b"\0":
            return Transport.TCP
        return self._platform.transport

    def _text(self, offset: int, size: int) -> str | None:
        stored = self._dct.read(offset, size).rstrip(b"\xff").split(b"\0")[0]
        return stored.decode("ascii", "replace") or None

    def _write(self, offset: int, data: bytes) -> None:
        self._dct.program(offset, data)
        self._dct.flush()


def production_server_record(platform: Platform) -> bytes:
    """The record a board has from the factory: a valid key that nobody holds, and the production host."""
    if platform.transport is Transport.DTLS:
        key = public_der(ec.derive_private_key(_digits(31), ec.SECP256R1()))
        host = "$id.udp.particle.io"
    else:
        key = public_der(rsa.RSAPublicNumbers(65537, _digits(256) | 1 << 2047 | 1).public_key())
        host = "device.tcp.particle.io"
    assert len(key) == platform.family.keys.server_key_size
    return server_record(platform, key, ServerAddress(host, platform.transport.port))


def _digits(size: int) -> int:
    """A fixed number of ``size`` bytes."""
    blocks = (hashlib.sha256(b"production server %d" % number).digest() for number in range(8))
    return int.from_bytes(b"".join(blocks)[:size], "big")
