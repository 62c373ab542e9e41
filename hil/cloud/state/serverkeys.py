"""The cloud's own keys: made at the first start, kept for ever after, since boards have the public halves."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from hil.cloud.state.store import DATABASE
from hil.cloud.state.trouble import keeping, translated
from hil.device.keys import (
    PrivateKey,
    generate_server_ec,
    generate_server_rsa,
    load_private,
    private_der,
    public_der,
)
from hil.device.platforms import Transport
from hil.errors import CloudError, WireError

_RSA_FILE = "server_rsa.der"
_EC_FILE = "server_ec.der"
_RSA_PUBLIC_FILE = "server_rsa.pub.der"
_EC_PUBLIC_FILE = "server_ec.pub.der"


@dataclass(frozen=True, slots=True)
class ServerKeys:
    """RSA-2048 for TCP boards, EC P-256 for UDP boards; their public halves also as files for other tools."""

    rsa: rsa.RSAPrivateKey
    ec: ec.EllipticCurvePrivateKey
    rsa_public_path: Path
    ec_public_path: Path

    @property
    def rsa_public_der(self) -> bytes:
        """SPKI DER, 294 bytes: what a TCP board keeps as its server key."""
        return public_der(self.rsa)

    @property
    def ec_public_der(self) -> bytes:
        """SPKI DER, 91 bytes: what a UDP board keeps as its server key."""
        return public_der(self.ec)

    def public_for(self, transport: Transport) -> bytes:
        """The public key that a board of ``transport`` needs."""
        return self.rsa_public_der if transport is Transport.TCP else self.ec_public_der

    @classmethod
    def load_or_create(cls, directory: Path, *, make_missing: bool = False) -> ServerKeys:
        """The keys in ``directory``; made there while it knows no board.

        Boards hold on to the public halves: once one is registered, a missing key is made only with
        ``make_missing``, else it is a ``CloudError``, as a damaged one is. Raises ``UsageError`` where files
        cannot be had.
        """
        with keeping(directory):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            return cls._load_or_create(directory, make_missing)

    @classmethod
    def _load_or_create(cls, directory: Path, make_missing: bool) -> ServerKeys:
        rsa_path, ec_path = directory / _RSA_FILE, directory / _EC_FILE
        missing = [path for path in (rsa_path, ec_path) if not path.exists()]
        if missing and not make_missing:
            _require_no_boards(directory, missing)
        rsa_key = _save(rsa_path, generate_server_rsa()) if rsa_path in missing else _load(rsa_path)
        ec_key = _save(ec_path, generate_server_ec()) if ec_path in missing else _load(ec_path)
        if not isinstance(rsa_key, rsa.RSAPrivateKey):
            raise _unusable(rsa_path, "a key of another kind", "an RSA-2048 private key")
        if not isinstance(ec_key, ec.EllipticCurvePrivateKey):
            raise _unusable(ec_path, "a key of another kind", "a P-256 private key")
        keys = cls(rsa_key, ec_key, directory / _RSA_PUBLIC_FILE, directory / _EC_PUBLIC_FILE)
        for path, public in (
            (keys.rsa_public_path, keys.rsa_public_der),
            (keys.ec_public_path, keys.ec_public_der),
        ):
            # Left alone when it is right: writing empties it first, and the disk may be full.
            if not path.exists() or path.read_bytes() != public:
                path.write_bytes(public)
        return keys


def _require_no_boards(directory: Path, missing: list[Path]) -> None:
    """Raise ``CloudError`` when boards are registered that have the public half of a key which is gone."""
    boards = _registered(directory / DATABASE)
    if boards:
        raise CloudError(
            f"the server key {missing[0]} is gone, and {boards} registered board(s) know its public half",
            expected=" and ".join(str(path) for path in missing),
            found=f"none, beside {directory / DATABASE}",
            hint=f"put a copy of it back; or `hil cloud keys --make-missing --state {directory}` makes a new one, "
            "which then has to go on every board (`hil cloud keys` says how)",
        )


def _registered(database: Path) -> int:
    """How many boards the state knows, whether a cloud runs on it or not."""
    if not database.exists():
        return 0
    try:
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as opened:
            (count,) = opened.execute("SELECT COUNT(*) FROM devices").fetchone()
    except sqlite3.Error as error:
        told = translated(database, error)
        if told is not None:
            raise told from error
        return 0  # no such table: a first start that was broken off
    return int(count)


def _load(path: Path) -> PrivateKey:
    data = path.read_bytes()
    try:
        return load_private(data)
    except WireError as error:
        raise _unusable(path, error.found or error.what, "a private key as DER") from error


def _unusable(path: Path, found: str, expected: str) -> CloudError:
    return CloudError(
        f"the server key {path} is damaged",
        expected=expected,
        found=found,
        hint="put a copy of it back; or move it away, and `hil cloud keys --make-missing` makes a new one, which then "
        "has to go on every board",
    )


def _save(path: Path, key: PrivateKey) -> PrivateKey:
    # Written beside and renamed, so that a killed first start leaves no half key behind.
    draft = path.with_suffix(".new")
    fd = os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(private_der(key))
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)
    return key
