"""``hil cloud devices`` and ``keys``, and how commands reach the state of a cloud, running or not.

The state directory belongs to one process at a time. While a cloud runs on it, these commands ask that cloud
over its HTTP API, whose address and token it leaves in ``running.json``; else they open the state themselves.
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
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
from hil.cloud.state.newcomers import PATH
from hil.cloud.state.serverkeys import ServerKeys
from hil.cloud.state.trouble import keeping
from hil.device.keys import load_public
from hil.device.platforms import Transport, by_id
from hil.errors import CloudError, StateInUse
from hil.printable import printable

_RUNNING = "running.json"
_ANSWER_WITHIN = 10.0  # seconds


state_option = options.state_option("cloud", "Where devices, keys, sessions and events are kept.")


# A cloud that runs


@dataclass(frozen=True, slots=True)
class Running:
    """How to talk to the cloud that has the state directory now."""

    url: str
    token: str
    owner: str

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """One request to the API, with ``body`` as JSON. Raises ``CloudError`` with what the cloud has against it."""
        request = urllib.request.Request(
            self.url + path,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=_ANSWER_WITHIN) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            said = error.read().decode("utf-8", "replace")
            with suppress(ValueError, AttributeError):
                answered = json.loads(said)
                said = answered.get("error_description") or answered.get("error") or said
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


def running(state: Path) -> Running:
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
def opened(state: Path, owner: str) -> Iterator[Services | None]:
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


# Commands


@click.command()
@state_option
def devices(state: Path) -> None:
    """List the devices that the cloud knows: id, name, platform, and online or offline while it runs.

    Example:  hil cloud devices
    """
    with one_message(), opened(state, CloudConfig().owner) as services:
        if services is None:
            rows = [
                (one["id"], one["name"], one["platform_id"], "online" if one["online"] else "offline")
                for one in running(state).ask("GET", PATH)
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
        click.echo(f"{device_id}  {_platform_name(platform_id):<10} {printable(name):<24} {rest}")
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
