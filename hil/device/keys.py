"""Device and server keys in the encodings a board reads, and the server record that holds key and address.

Facts: protocol fact sheet 1.1, 2.3 and 10 (key formats and the board's own reading of RSA keys), USB fact
sheet 5.4 (server records). Nothing here touches a board; records are bytes that the USB room writes.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from hil.device.platforms import Platform, Transport
from hil.errors import UsageError, WireError

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

RSA_EXPONENT = 65537
DEVICE_RSA_BITS = 1024
SERVER_RSA_BITS = 2048
DEVICE_RSA_SLOT = 612
DEVICE_RSA_PUBLIC_SIZE = 162
EC_PUBLIC_SIZE = 91
ADDRESS_RECORD_SIZE = 128

_RSA_PUBLIC_HEADER = bytes.fromhex("30819f300d06092a864886f70d010101050003818d0030818902818100")
_RSA_PUBLIC_TAIL = bytes.fromhex("0203010001")
_RSA_MODULUS_OFFSET = 11
_ADDRESS_IPV4 = 0
_ADDRESS_DOMAIN = 1
_ADDRESS_PORT_OFFSET = 66
_DOMAIN_MAX = 63


def generate_device_key(kind: Platform | Transport) -> PrivateKey:
    """A fresh device key that the board can use: RSA-1024 for TCP, EC P-256 for DTLS."""
    transport = kind.transport if isinstance(kind, Platform) else kind
    if transport is Transport.DTLS:
        return generate_server_ec()
    while True:
        key = rsa.generate_private_key(RSA_EXPONENT, DEVICE_RSA_BITS)
        if rsa_key_suits_board(key):
            return key


def generate_server_rsa() -> rsa.RSAPrivateKey:
    """A fresh RSA-2048 server key for the TCP transport."""
    return rsa.generate_private_key(RSA_EXPONENT, SERVER_RSA_BITS)


def generate_server_ec() -> ec.EllipticCurvePrivateKey:
    """A fresh P-256 key for the DTLS transport."""
    return ec.generate_private_key(ec.SECP256R1())


def rsa_key_suits_board(key: rsa.RSAPrivateKey) -> bool:
    """Whether no private number is so short that the board's fixed offsets would miss it.

    About 2.5 % of fresh RSA-1024 keys are unsuitable (protocol fact sheet 10).
    """
    numbers = key.private_numbers()
    halves = (numbers.p, numbers.q, numbers.dmp1, numbers.dmq1, numbers.iqmp)
    return numbers.d > 1 << 1016 and all(half > 1 << 504 for half in halves)


def private_der(key: PrivateKey) -> bytes:
    """The private key as boards store it: PKCS#1 for RSA, SEC1 for EC (121 bytes)."""
    return key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


def public_der(key: PrivateKey | PublicKey) -> bytes:
    """SPKI DER of the public half: 162 bytes RSA-1024, 294 bytes RSA-2048, 91 bytes P-256."""
    public = key.public_key() if isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) else key
    return public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def der_length(data: bytes) -> int:
    """Bytes of the DER sequence that ``data`` starts with; a slot read from a board has padding after it."""
    if len(data) < 2 or data[0] != 0x30:
        raise WireError("not a DER sequence", expected="first byte 30", found=data[:4].hex() or "nothing")
    if data[1] < 0x80:
        total = 2 + data[1]
    else:
        count = data[1] & 0x7F
        if count not in (1, 2) or len(data) < 2 + count:
            raise WireError("unusable DER length", found=data[:6].hex())
        total = 2 + count + int.from_bytes(data[2 : 2 + count], "big")
    if total > len(data):
        raise WireError("DER cut short", expected=f"{total} bytes", found=f"{len(data)} bytes")
    return total


def load_private(der: bytes) -> PrivateKey:
    """A private key from PKCS#1, SEC1 or PKCS#8 DER; bytes after the DER are ignored. Raises ``WireError``."""
    try:
        key = serialization.load_der_private_key(der[: der_length(der)], None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise WireError("not a private key", found=str(error)) from error
    if isinstance(key, rsa.RSAPrivateKey):
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise WireError("a private key of the wrong kind", expected="RSA or P-256", found=type(key).__name__)


def load_public(der: bytes) -> PublicKey:
    """A public key from SPKI DER; bytes after the DER are ignored. Raises ``WireError``."""
    try:
        key = serialization.load_der_public_key(der[: der_length(der)])
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise WireError("not a public key", found=str(error)) from error
    if isinstance(key, rsa.RSAPublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise WireError("a public key of the wrong kind", expected="RSA or P-256", found=type(key).__name__)


@dataclass(frozen=True, slots=True)
class BoardRsaNumbers:
    """The RSA numbers a board takes from its key slot; wrong ones when the key does not suit it."""

    n: int
    e: int
    d: int
    p: int
    q: int
    dmp1: int
    dmq1: int
    iqmp: int


def device_parse_rsa(der: bytes) -> BoardRsaNumbers:
    """Read an RSA-1024 private key as the board does: by fixed offsets, no ASN.1.

    The board looks at each length byte only to see whether it is odd, which means one leading zero byte.
    ``der`` may be the bare DER or the whole 612-byte slot. Raises ``WireError`` when it is neither.
    """
    if not _RSA_MODULUS_OFFSET + 128 <= len(der) <= DEVICE_RSA_SLOT:
        raise WireError("not an RSA key slot", expected="up to 612 bytes", found=f"{len(der)} bytes")
    slot = der.ljust(DEVICE_RSA_SLOT, b"\xff")
    numbers: list[int] = []
    position = 9  # the length byte of the modulus
    # Bytes of each number, then bytes from its end to the length byte of the next one.
    for size, step in ((128, 7), (128, 1), (64, 1), (64, 1), (64, 1), (64, 1), (64, 1)):
        position += 2 if slot[position] & 1 else 1
        numbers.append(int.from_bytes(slot[position : position + size], "big"))
        position = min(position + size + step, DEVICE_RSA_SLOT - 1)
    n, d, p, q, dmp1, dmq1, iqmp = numbers
    return BoardRsaNumbers(n, RSA_EXPONENT, d, p, q, dmp1, dmq1, iqmp)


def device_public_from_private_der(der: bytes) -> bytes:
    """The 162-byte SPKI a TCP board sends: its modulus copied from private-key offset 11."""
    end = _RSA_MODULUS_OFFSET + 128
    if len(der) < end:
        raise WireError("RSA key too short", expected=f"{end} bytes or more", found=f"{len(der)} bytes")
    return _RSA_PUBLIC_HEADER + der[_RSA_MODULUS_OFFSET:end] + _RSA_PUBLIC_TAIL


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Where a board finds its cloud. ``host`` is an IPv4 address or a domain (may hold ``$id``).

    ``port`` ``None`` is the blank record: the transport's default. A UDP board ignores the port and uses 5684.
    """

    host: str
    port: int | None = None

    def encode_record(self) -> bytes:
        """The 128-byte address record. Raises ``UsageError`` for a host that does not fit."""
        kind, value = _encode_host(self.host)
        record = bytearray(b"\xff" * ADDRESS_RECORD_SIZE)
        record[: 2 + len(value)] = bytes([kind, len(value)]) + value
        if self.port is not None:
            if not 0 < self.port < 0xFFFF:
                raise UsageError("not a port", expected="1 to 65534", found=str(self.port))
            record[_ADDRESS_PORT_OFFSET : _ADDRESS_PORT_OFFSET + 2] = self.port.to_bytes(2, "big")
        return bytes(record)

    @classmethod
    def decode_record(cls, record: bytes) -> ServerAddress:
        """The address in ``record``. Raises ``WireError`` for a blank or invalid record."""
        if len(record) < _ADDRESS_PORT_OFFSET + 2:
            raise WireError("address record cut short", expected="68 bytes or more", found=str(len(record)))
        kind, length = record[0], record[1]
        value = record[2 : 2 + length]
        port = int.from_bytes(record[_ADDRESS_PORT_OFFSET : _ADDRESS_PORT_OFFSET + 2], "big")
        return cls(_decode_host(kind, value), None if port in (0, 0xFFFF) else port)

    def host_for(self, device_id: str, major: int) -> str:
        """The host a board looks up: ``$id`` becomes ``<24 hex digits>.v<major Device OS version>``."""
        return self.host.replace("$id", f"{device_id}.v{major}")


def _encode_host(host: str) -> tuple[int, bytes]:
    try:
        return _ADDRESS_IPV4, IPv4Address(host).packed
    except ValueError:
        pass
    if not host or len(host) > _DOMAIN_MAX or not _printable(host.encode("utf-8")):
        raise UsageError("not a server host", expected="IPv4 or an ASCII name up to 63", found=repr(host))
    return _ADDRESS_DOMAIN, host.encode("ascii")


def _decode_host(kind: int, value: bytes) -> str:
    if kind == _ADDRESS_IPV4 and len(value) == 4:
        return str(IPv4Address(value))
    if kind == _ADDRESS_DOMAIN and 0 < len(value) <= _DOMAIN_MAX and _printable(value):
        return value.decode("ascii")
    raise WireError("not a server address", expected="type 0 or 1", found=f"type {kind}, {value.hex()}")


def _printable(value: bytes) -> bool:
    return all(0x21 <= byte <= 0x7E for byte in value)


def server_record(platform: Platform, public_key_der: bytes, address: ServerAddress) -> bytes:
    """Server key and address as one record to write in one go, padded with 0xFF. Raises ``UsageError``."""
    store = platform.family.keys
    if len(public_key_der) != store.server_key_size:
        raise UsageError(
            f"wrong server key for {platform.display}",
            expected=f"SPKI DER of {store.server_key_size} bytes",
            found=f"{len(public_key_der)} bytes",
        )
    head = public_key_der.ljust(store.server_address, b"\xff") + address.encode_record()
    return head.ljust(store.server_record_size, b"\xff")


def parse_server_record(platform: Platform, record: bytes) -> tuple[bytes, ServerAddress]:
    """Key (SPKI DER) and address of a record read back from a board. Raises ``WireError``."""
    start = platform.family.keys.server_address
    key = record[: min(der_length(record), start)]
    load_public(key)
    return key, ServerAddress.decode_record(record[start:])
