"""The cloud's own keys: made at the first start, kept for ever after, since boards have the public halves."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from hil.cloud.state.store import keeping
from hil.device.keys import (
    PrivateKey,
    generate_server_ec,
    generate_server_rsa,
    load_private,
    private_der,
    public_der,
)
from hil.device.platforms import Transport
from hil.errors import CloudError

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
    def load_or_create(cls, directory: Path) -> ServerKeys:
        """The keys in ``directory``; made there when it has none. Raises ``UsageError`` where that cannot be."""
        with keeping(directory):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            return cls._load_or_create(directory)

    @classmethod
    def _load_or_create(cls, directory: Path) -> ServerKeys:
        rsa_path, ec_path = directory / _RSA_FILE, directory / _EC_FILE
        rsa_key = _load(rsa_path) if rsa_path.exists() else _save(rsa_path, generate_server_rsa())
        ec_key = _load(ec_path) if ec_path.exists() else _save(ec_path, generate_server_ec())
        if not isinstance(rsa_key, rsa.RSAPrivateKey) or not isinstance(ec_key, ec.EllipticCurvePrivateKey):
            raise CloudError(
                f"the server keys in {directory} are mixed up",
                expected=f"an RSA key in {_RSA_FILE}, a P-256 key in {_EC_FILE}",
            )
        keys = cls(rsa_key, ec_key, directory / _RSA_PUBLIC_FILE, directory / _EC_PUBLIC_FILE)
        keys.rsa_public_path.write_bytes(keys.rsa_public_der)
        keys.ec_public_path.write_bytes(keys.ec_public_der)
        return keys


def _load(path: Path) -> PrivateKey:
    return load_private(path.read_bytes())


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
