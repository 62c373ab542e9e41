"""The three messages of the TCP handshake: nonce, device request, server reply.

Facts: protocol fact sheet 1.1 and 1.2.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils

from hil.device import keys
from hil.errors import WireError

NONCE_SIZE = 40
DEVICE_ID_SIZE = 12
CREDENTIALS_SIZE = 40
REQUEST_SIZE = 256
SESSION_BLOCK_SIZE = 128
REPLY_SIZE = SESSION_BLOCK_SIZE + 256

_PKCS1 = padding.PKCS1v15()


class DecryptionFailed(WireError):
    """The session block does not decrypt with the device key (device error 6, LED orange)."""

    device_error = 6


class AuthenticationFailed(WireError):
    """The server's signature does not verify with the stored server key (device error 8, LED magenta)."""

    device_error = 8


@dataclass(frozen=True, slots=True)
class Credentials:
    """The 40 random bytes a session is made of: AES key (16), first IV (16), salt (8)."""

    raw: bytes = field(repr=False)

    @property
    def key(self) -> bytes:
        return self.raw[:16]

    @property
    def iv(self) -> bytes:
        return self.raw[16:32]

    @property
    def salt(self) -> bytes:
        return self.raw[32:40]


@dataclass(frozen=True, slots=True)
class Request:
    """What a device says of itself; ``public_key`` is empty in the 52-byte form of very old Core firmware."""

    device_id: bytes
    public_key: bytes


def seal_request(
    server_key: rsa.RSAPublicKey, nonce: bytes, device_id: bytes, device_key: rsa.RSAPublicKey
) -> bytes:
    """The device's 256-byte answer to ``nonce``."""
    return server_key.encrypt(nonce + device_id + keys.public_der(device_key), _PKCS1)


def open_request(server_key: rsa.RSAPrivateKey, nonce: bytes, data: bytes) -> Request:
    """Decrypt and check a device request. Raises ``WireError``."""
    try:
        plain = server_key.decrypt(data, _PKCS1)
    except ValueError as error:
        raise WireError("the device's handshake does not decrypt with the server key") from error
    # A wrong padding may come out as random bytes of random length: the nonce tells.
    if len(plain) < NONCE_SIZE or not hmac.compare_digest(plain[:NONCE_SIZE], nonce):
        raise WireError("the device's handshake does not carry the nonce that was sent")
    device_id = plain[NONCE_SIZE : NONCE_SIZE + DEVICE_ID_SIZE]
    public_key = plain[NONCE_SIZE + DEVICE_ID_SIZE :]
    if len(device_id) != DEVICE_ID_SIZE or len(public_key) not in (0, keys.DEVICE_RSA_PUBLIC_SIZE):
        raise WireError(
            "handshake of a wrong length", expected="52 or 214 bytes", found=f"{len(plain)} bytes"
        )
    return Request(device_id, public_key)


def load_device_public(spki: bytes) -> rsa.RSAPublicKey:
    """The device's RSA-1024 public key. Raises ``WireError``."""
    public = keys.load_public(spki)
    if not isinstance(public, rsa.RSAPublicKey) or public.key_size != keys.DEVICE_RSA_BITS:
        raise WireError("not a TCP device key", expected="RSA with 1024 bits")
    return public


def credentials_mac(credentials: Credentials, block: bytes) -> bytes:
    """HMAC-SHA1 that ties the encrypted session ``block`` to the credentials."""
    return hmac.new(credentials.raw, block, hashlib.sha1).digest()


def sign_mac(server_key: rsa.RSAPrivateKey, mac: bytes) -> bytes:
    """Raw PKCS#1 type-1 signature of ``mac``, without DigestInfo."""
    return server_key.sign(mac, _PKCS1, utils.NoDigestInfo())


def seal_reply(
    server_key: rsa.RSAPrivateKey, device_key: rsa.RSAPublicKey, credentials: Credentials
) -> bytes:
    """The server's 384 bytes: session block and signature."""
    block = device_key.encrypt(credentials.raw, _PKCS1)
    return block + sign_mac(server_key, credentials_mac(credentials, block))


def open_reply(device_key: rsa.RSAPrivateKey, server_key: rsa.RSAPublicKey, reply: bytes) -> Credentials:
    """Check the server's reply in the device's order: decrypt, then verify."""
    block, signature = reply[:SESSION_BLOCK_SIZE], reply[SESSION_BLOCK_SIZE:]
    try:
        raw = device_key.decrypt(block, _PKCS1)
    except ValueError as error:
        raise DecryptionFailed("the session block does not decrypt with the device key") from error
    if len(raw) != CREDENTIALS_SIZE:
        raise DecryptionFailed(
            "session block of a wrong size", expected="40 bytes", found=f"{len(raw)} bytes"
        )
    credentials = Credentials(raw)
    try:
        mac = server_key.recover_data_from_signature(signature, _PKCS1, None)
    except (InvalidSignature, ValueError) as error:
        raise AuthenticationFailed("the server's signature does not match the stored server key") from error
    if not hmac.compare_digest(mac, credentials_mac(credentials, block)):
        raise AuthenticationFailed("the server signed another session block")
    return credentials
