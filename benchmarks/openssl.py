"""The opponent of our DTLS handshake: OpenSSL through the standard library's ``ssl``, both ends in memory.

The library has no DTLS; TLS 1.2 with the same cipher suite on the same curve is the same work: two signatures,
two verifications, two key agreements. Certificates stand in for raw public keys, which ``ssl`` does not offer.
"""

from __future__ import annotations

import datetime
import ssl
import tempfile
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from hil.device import keys

SUITE = "ECDHE-ECDSA-AES128-CCM8"


def handshaker() -> Callable[[], str]:
    """A function that makes one full handshake, both ends proving their keys, and returns the cipher suite."""
    with tempfile.TemporaryDirectory() as folder:
        server = _context(ssl.PROTOCOL_TLS_SERVER, _credentials(Path(folder, "server")))
        client = _context(ssl.PROTOCOL_TLS_CLIENT, _credentials(Path(folder, "client")))
        server.load_verify_locations(Path(folder, "client"))
        client.load_verify_locations(Path(folder, "server"))
    return lambda: _handshake(client, server)


def _credentials(path: Path) -> Path:
    """A file with a fresh P-256 key and its self-signed certificate."""
    key = keys.generate_server_ec()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, path.name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    valid = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    constraints = x509.BasicConstraints(ca=True, path_length=None)
    certificate = valid.add_extension(constraints, critical=True).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    form = serialization.PrivateFormat.TraditionalOpenSSL
    plain = serialization.NoEncryption()
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(pem, form, plain) + certificate.public_bytes(pem))
    return path


def _context(role: int, credentials: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(role)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(f"{SUITE}:@SECLEVEL=0")  # an 8-byte tag is below the default level of OpenSSL 3
    context.load_cert_chain(credentials)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.options |= ssl.OP_NO_TICKET
    return context


def _handshake(client_context: ssl.SSLContext, server_context: ssl.SSLContext) -> str:
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(down, up)
    server = server_context.wrap_bio(up, down, server_side=True)
    waiting = [client, server]
    while waiting:
        waiting = [end for end in waiting if not _advance(end)]
    cipher = server.cipher()
    return cipher[0] if cipher else ""


def _advance(end: ssl.SSLObject) -> bool:
    """Whether the handshake of this end is over."""
    try:
        end.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True
