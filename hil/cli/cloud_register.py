"""``hil cloud register``: devices and their public keys made known to a cloud, one or a whole list.

The list is one file, so that a hundred devices take one start of the program and one transaction: all of them are
registered, or none when one cannot be.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import click
from cryptography.hazmat.primitives import serialization

from hil.cli.cloud_devices import opened, running, state_option
from hil.cli.options import one_message
from hil.cloud.config import CloudConfig
from hil.cloud.session.identity import fingerprint
from hil.cloud.state import newcomers
from hil.cloud.state.names import device_id_of
from hil.cloud.state.newcomers import PATH, Newcomer
from hil.cloud.state.registry import transport_of_key
from hil.device.keys import load_private, load_public, public_der
from hil.device.platforms import PLATFORMS, by_name
from hil.errors import HilError, UsageError


@click.command()
@click.argument("device_id", required=False)
@click.option(
    "--key",
    "key_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The device's key, PEM or DER; of a private key the public half is taken.",
)
@click.option(
    "--list",
    "listed",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help="Many devices instead of one: lines of DEVICE_ID KEY_FILE [PLATFORM [NAME]]; - reads them from a pipe.",
)
@click.option(
    "--platform",
    help="Name or number (argon, 12); the device's Hello corrects it. Default: photon for an RSA key, else argon.",
)
@click.option("--name", help="What to call the device. Default: the end of its id.")
@click.option("--owner", help="Who claims them. Default: the owner of the cloud that runs, else hil.")
@state_option
def register(
    device_id: str | None,
    key_file: Path | None,
    listed: str | None,
    platform: str | None,
    name: str | None,
    owner: str | None,
    state: Path,
) -> None:
    """Make a device and its public key known to the cloud, and claim it.

    DEVICE_ID is 24 hex digits. Works while the cloud runs, too. Two devices of one owner cannot share a name.

    \b
    Example:  particle keys save argon            (board in DFU mode; writes argon.der)
              hil cloud register e00fce68aabbccddeeff0011 --key argon.der --platform argon
    Many:     hil cloud register --list bench.txt
    """
    if listed is not None and any((device_id, key_file, platform, name)):
        raise click.UsageError("with --list, id, key, platform and name of each device stand in the list")
    with one_message():
        if listed is not None:
            devices = read_list(listed)
        elif device_id is not None and key_file is not None:
            devices = [_newcomer(device_id, key_file, platform, name)]
        else:
            raise click.UsageError("say DEVICE_ID and --key for one device, or --list for many")
        owner = introduce(state, devices, owner=owner)
    for device in devices:
        key = fingerprint(device.public_key)
        click.echo(f"{device.device_id} is registered with {key} and claimed by {owner}")


def introduce(state: Path, devices: Sequence[Newcomer], *, owner: str | None = None) -> str:
    """Make devices known to the cloud of ``state``, running or not: all, or none of them. Returns whose they are.

    ``owner`` is by default whoever owns the devices of that cloud.
    """
    theirs = owner or CloudConfig().owner
    with opened(state, theirs) as services:
        if services is not None:
            newcomers.introduce(services.store, services.registry, devices, theirs)
            return theirs
    cloud = running(state)
    theirs = owner or cloud.owner
    said = [
        {
            "id": device.device_id,
            "public_key": device.public_key.hex(),
            "platform_id": device.platform_id,
            "name": device.name,
        }
        for device in devices
    ]
    cloud.ask("POST", PATH, {"owner": theirs, "devices": said})
    return theirs


def read_list(path: str) -> list[Newcomer]:
    """The devices of a list, ``-`` for stdin. Key files are looked for beside it.

    Raises ``UsageError`` with the number of the line.

    Words with spaces stand in quotation marks; what follows a ``#`` is for people.
    """
    with click.open_file(path) as lines:
        found = list(_numbered(lines))
    folder = Path() if path == "-" else Path(path).parent
    devices = []
    for number, words in found:
        device_id, key_file, platform, name, *more = (*words, *[""] * 4)[: max(4, len(words))]
        try:
            if more or not key_file:
                raise UsageError(
                    "not a device", expected="DEVICE_ID KEY_FILE [PLATFORM [NAME]]", found=" ".join(words)
                )
            devices.append(_newcomer(device_id, folder / key_file, platform or None, name or None))
        except HilError as error:
            raise UsageError(
                f"line {number}: {error.what}", expected=error.expected, found=error.found
            ) from error
    if not devices:
        raise UsageError("the list has no device", expected="lines of DEVICE_ID KEY_FILE [PLATFORM [NAME]]")
    return devices


def _numbered(lines: IO[str]) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(lines, start=1):
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise UsageError(f"line {number}: {error}", found=line.strip()) from error
        if words:
            yield number, words


def _newcomer(device_id: str, key_file: Path, platform: str | None, name: str | None) -> Newcomer:
    return Newcomer(
        device_id_of(device_id),
        read_public_key(key_file),
        _platform_id(platform) if platform else None,
        name,
    )


def _platform_id(text: str) -> int:
    """The number that ``--platform`` stands for; numbers the table does not know are fine."""
    if text.isdigit():
        return int(text)
    try:
        return by_name(text.lower()).id
    except KeyError:
        names = ", ".join(platform.name for platform in PLATFORMS)
        raise UsageError("not a platform", expected=f"a number, or {names}", found=text) from None


# Keys in files


def read_public_key(path: Path) -> bytes:
    """SPKI DER of the key in a PEM or DER file, the public half when it is a private one. Raises ``UsageError``."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read the key file {path}", found=str(error.strerror)) from error
    readers: tuple[Callable[[bytes], bytes], ...] = (
        (_from_pem_public, _from_pem_private)
        if (data.lstrip().startswith(b"-----"))
        else (_from_der_public, _from_der_private)
    )
    for read in readers:
        with suppress(HilError, ValueError, TypeError, AttributeError):
            spki = read(data)
            transport_of_key(spki)
            return spki
    raise UsageError(
        f"no device key in {path}",
        expected="an RSA or P-256 key, PEM or DER, such as `particle keys save` writes",
        found=data[:16].hex() or "an empty file",
    )


def _from_pem_public(data: bytes) -> bytes:
    return public_der(serialization.load_pem_public_key(data))  # type: ignore[arg-type]


def _from_pem_private(data: bytes) -> bytes:
    # An EC file of openssl has its parameters in front of the key.
    data = data[data.index(b"PRIVATE KEY-----") :]
    kind = b"EC " if b"END EC PRIVATE" in data else b"RSA " if b"END RSA PRIVATE" in data else b""
    key = serialization.load_pem_private_key(b"-----BEGIN " + kind + data, None)
    return public_der(key)  # type: ignore[arg-type]


def _from_der_public(data: bytes) -> bytes:
    return public_der(load_public(data))


def _from_der_private(data: bytes) -> bytes:
    return public_der(load_private(data))
