"""``hil cloud register``, ``devices`` and ``keys``: introducing a device and this cloud to each other.

The state directory belongs to one process at a time. While a cloud runs on it, these commands ask that cloud
over its HTTP API, whose address and token it leaves in ``running.json``; else they open the state themselves.
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from cryptography.hazmat.primitives import serialization

from hil.cli import options
from hil.cli.options import one_message
from hil.cloud.config import CloudConfig
from hil.cloud.session.identity import fingerprint
from hil.cloud.session.services import Services
from hil.cloud.state.names import device_id_of
from hil.cloud.state.registry import transport_of_key
from hil.cloud.state.serverkeys import ServerKeys
from hil.cloud.state.trouble import keeping
from hil.device.keys import load_private, load_public, public_der
from hil.device.platforms import PLATFORMS, Transport, by_id, by_name
from hil.errors import CloudError, HilError, StateInUse, UsageError

_RUNNING = "running.json"
_ANSWER_WITHIN = 10.0  # seconds
_DEFAULT_PLATFORM = {Transport.TCP: "photon", Transport.DTLS: "argon"}


state_option = options.state_option("cloud", "Where devices, keys, sessions and events are kept.")


# A cloud that runs


@dataclass(frozen=True, slots=True)
class Running:
    """How to talk to the cloud that has the state directory now."""

    url: str
    token: str
    owner: str

    def ask(self, method: str, path: str, **form: str) -> Any:
        """One request to the API. Raises ``CloudError`` with what the cloud has against it."""
        request = urllib.request.Request(
            self.url + path,
            data=urllib.parse.urlencode(form).encode() if form else None,
            headers={"Authorization": f"Bearer {self.token}"},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=_ANSWER_WITHIN) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            said = error.read().decode("utf-8", "replace")
            with suppress(ValueError, AttributeError):
                said = json.loads(said).get("error", said)
            raise CloudError(f"the cloud refused: {said}", found=f"HTTP {error.code}") from error
        except OSError as error:
            raise CloudError(f"the cloud at {self.url} does not answer", found=str(error)) from error


@contextmanager
def announced(state: Path, url: str, token: str, owner: str) -> Iterator[None]:
    """Leave word of a running cloud in its state directory while the block runs."""
    path = state / _RUNNING
    with keeping(state), os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
        json.dump({"url": url, "token": token, "owner": owner}, file)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _running(state: Path) -> Running:
    """The cloud that has the state directory. Raises ``CloudError`` when it cannot be asked."""
    try:
        said = Running(**json.loads((state / _RUNNING).read_text()))
    except (OSError, ValueError, TypeError):
        said = None
    if said is None or not said.url:
        raise CloudError(
            f"a cloud runs on {state} and cannot be asked",
            expected="`hil cloud` with its HTTP API",
            hint="stop it, or start it without --no-http",
        )
    return said


@contextmanager
def _opened(state: Path, owner: str) -> Iterator[Services | None]:
    """The state itself, or ``None`` while a cloud runs on it."""
    try:
        services = Services.open(CloudConfig(state_dir=state, owner=owner), state)
    except StateInUse:
        yield None
        return
    try:
        yield services
    finally:
        services.close()


# Keys in files


def read_public_key(path: Path) -> bytes:
    """SPKI DER of the key in a PEM or DER file, the public half when it is a private one. Raises ``UsageError``."""
    data = path.read_bytes()
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


# Commands


@click.command()
@click.argument("device_id")
@click.option(
    "--key",
    "key_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    help="The device's key, PEM or DER; of a private key the public half is taken.",
)
@click.option(
    "--platform",
    help="Name or number (argon, 12); the device's Hello corrects it. Default: photon for an RSA key, else argon.",
)
@click.option("--name", help="What to call the device. Default: the end of its id.")
@click.option("--owner", default="hil", show_default=True, help="Who claims it.")
@state_option
def register(
    device_id: str, key_file: Path, platform: str | None, name: str | None, owner: str, state: Path
) -> None:
    """Make a device and its public key known to the cloud, and claim it.

    DEVICE_ID is 24 hex digits. Works while the cloud runs, too.

    \b
    Example:  particle keys save argon            (board in DFU mode; writes argon.der)
              hil cloud register e00fce68aabbccddeeff0011 --key argon.der --platform argon
    """
    with one_message():
        device_id = device_id_of(device_id)
        spki = read_public_key(key_file)
        platform_id = _platform_id(platform) if platform else None
        owner = introduce(state, device_id, spki, platform_id=platform_id, name=name, owner=owner)
    click.echo(f"{device_id} is registered with {fingerprint(spki)} and claimed by {owner}")


def introduce(
    state: Path, device_id: str, spki: bytes, *, platform_id: int | None, name: str | None, owner: str
) -> str:
    """Make a device and its public key (SPKI DER) known to the cloud of ``state``, running or not.

    Without ``platform_id`` it keeps its own, or gets a likely one. Returns whose it is.
    """
    likely = _platform_id(_DEFAULT_PLATFORM[transport_of_key(spki)])
    with _opened(state, owner) as services:
        if services is None:
            return _register_over_http(_running(state), device_id, spki, name, owner)
        known = services.registry.get(device_id)
        kept = known.platform_id if known else likely
        services.registry.register(
            device_id,
            platform_id=kept if platform_id is None else platform_id,
            public_key=spki,
            owner=owner,
            name=name,
        )
    return owner


def _register_over_http(cloud: Running, device_id: str, spki: bytes, name: str | None, owner: str) -> str:
    """Register and claim through the API; the owner is the one whose token the running cloud gave out."""
    if owner not in (cloud.owner, "hil"):
        raise UsageError(
            f"the running cloud claims for {cloud.owner}",
            found=owner,
            hint="leave --owner out, or stop the cloud",
        )
    pem = load_public(spki).public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    algorithm = "rsa" if transport_of_key(spki) is Transport.TCP else "ecc"
    cloud.ask("POST", f"/v1/provisioning/{device_id}", publicKey=pem.decode(), algorithm=algorithm)
    cloud.ask("POST", "/v1/devices", id=device_id)
    if name:
        cloud.ask("PUT", f"/v1/devices/{device_id}", name=name)
    return cloud.owner


def _platform_id(text: str) -> int:
    """The number that ``--platform`` stands for; numbers the table does not know are fine."""
    if text.isdigit():
        return int(text)
    try:
        return by_name(text.lower()).id
    except KeyError:
        names = ", ".join(platform.name for platform in PLATFORMS)
        raise UsageError("not a platform", expected=f"a number, or {names}", found=text) from None


@click.command()
@state_option
def devices(state: Path) -> None:
    """List the devices that the cloud knows: id, name, platform, and online or offline while it runs.

    Example:  hil cloud devices
    """
    with one_message(), _opened(state, CloudConfig().owner) as services:
        if services is None:
            rows = [
                (one["id"], one["name"], one["platform_id"], "online" if one["online"] else "offline")
                for one in _running(state).ask("GET", "/v1/devices")
            ]
        else:
            rows = [
                (
                    one.id,
                    one.name,
                    one.platform_id,
                    ", ".join(map(fingerprint, one.keys.values())) or "no key",
                )
                for one in services.registry.all()
            ]
    for device_id, name, platform_id, rest in rows:
        click.echo(f"{device_id}  {_platform_name(platform_id):<10} {name:<24} {rest}")
    if not rows:
        click.echo("no device yet (hil cloud register)")


def _platform_name(platform_id: int) -> str:
    try:
        return by_id(platform_id).name
    except KeyError:
        return f"platform {platform_id}"


@click.command()
@click.option(
    "--write",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Also write the public keys there, as DER and as PEM.",
)
@click.option(
    "--make-missing",
    is_flag=True,
    help="Make a server key that is gone anew, although boards are registered that have the old one.",
)
@click.option("--address", default="ADDRESS", help="This machine's address as the boards see it.")
@state_option
def keys(directory: Path | None, make_missing: bool, address: str, state: Path) -> None:
    """Show the cloud's public keys and how to put them on a board.

    The keys are made at the first use and stay the same for ever.

    \b
    Examples: hil cloud keys --address 192.0.2.7
              hil cloud keys --write /tmp/keys
    """
    with one_message():
        server = ServerKeys.load_or_create(state, make_missing=make_missing)
    files = {Transport.TCP: server.rsa_public_path, Transport.DTLS: server.ec_public_path}
    if directory is not None:
        files = {transport: _write_key(directory, server, transport) for transport in files}
    for transport, path in files.items():
        boards = "Photon, P1, Core" if transport is Transport.TCP else "all other boards"
        click.echo(
            f"{boards} ({transport.protocol} {transport.port}): {fingerprint(server.public_for(transport))}"
        )
        click.echo(f"  {path}")
        click.echo(f"  particle keys server {path} --host {address} --port {transport.port}")


def _write_key(directory: Path, server: ServerKeys, transport: Transport) -> Path:
    """The public key for one transport as DER and PEM; the DER file, which particle-cli takes."""
    directory.mkdir(parents=True, exist_ok=True)
    spki = server.public_for(transport)
    path = directory / f"hil_{transport.protocol}.pub.der"
    path.write_bytes(spki)
    pem = load_public(spki).public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    path.with_suffix(".pem").write_bytes(pem)
    return path
