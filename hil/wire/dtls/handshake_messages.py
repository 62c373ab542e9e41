"""Handshake messages, byte for byte: framing and the bodies that boards and their cloud exchange.

Facts: protocol fact sheet 2.1, 2.2, 2.4 and 8.4. Every ``parse`` raises ``WireError`` on malformed bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from hil.errors import WireError
from hil.wire.dtls.reader import Reader, vector
from hil.wire.dtls.records import VERSION

HEADER_SIZE = 12
RANDOM_SIZE = 32
CIPHER_SUITE = 0xC0AE  # TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8
RENEGOTIATION_SCSV = 0x00FF
CURVE_P256 = 0x0017
RAW_PUBLIC_KEY = 2
ECDSA_SHA256 = b"\x04\x03"
_NAMED_CURVE = 3


class HandshakeType(IntEnum):
    """Handshake message types in use."""

    CLIENT_HELLO = 1
    SERVER_HELLO = 2
    HELLO_VERIFY_REQUEST = 3
    CERTIFICATE = 11
    SERVER_KEY_EXCHANGE = 12
    CERTIFICATE_REQUEST = 13
    SERVER_HELLO_DONE = 14
    CERTIFICATE_VERIFY = 15
    CLIENT_KEY_EXCHANGE = 16
    FINISHED = 20


class Extension(IntEnum):
    """Extensions a board offers. ``CID`` is the number of draft-05, not of RFC 9146."""

    SUPPORTED_GROUPS = 10
    EC_POINT_FORMATS = 11
    SIGNATURE_ALGORITHMS = 13
    CLIENT_CERTIFICATE_TYPE = 19
    SERVER_CERTIFICATE_TYPE = 20
    CID = 254
    RENEGOTIATION_INFO = 0xFF01


@dataclass(frozen=True, slots=True)
class HandshakeMessage:
    """A whole handshake message; ``encode`` gives the unfragmented form that the transcript hash covers."""

    type: int
    sequence: int
    body: bytes

    def encode(self) -> bytes:
        return self.fragment(0, len(self.body))

    def fragment(self, offset: int, size: int) -> bytes:
        """``size`` bytes of the body from ``offset`` behind the header of that fragment."""
        header = bytes([self.type]) + len(self.body).to_bytes(3, "big") + self.sequence.to_bytes(2, "big")
        return header + offset.to_bytes(3, "big") + vector(3, self.body[offset : offset + size])


@dataclass(frozen=True, slots=True)
class Fragment:
    """A piece of a handshake message of ``length`` bytes."""

    type: int
    length: int
    sequence: int
    offset: int
    data: bytes

    @property
    def is_last(self) -> bool:
        """Whether it holds the end of its message."""
        return self.offset + len(self.data) == self.length


def parse_fragments(data: bytes) -> list[Fragment]:
    """The fragments in the payload of one handshake record. Raises ``WireError``."""
    reader = Reader(data)
    fragments: list[Fragment] = []
    while reader.left:
        kind, length, sequence, offset = reader.uint(1), reader.uint(3), reader.uint(2), reader.uint(3)
        fragment = Fragment(kind, length, sequence, offset, reader.vector(3))
        if fragment.offset + len(fragment.data) > length:
            raise WireError("handshake fragment beyond its message")
        fragments.append(fragment)
    return fragments


Extensions = tuple[tuple[int, bytes], ...]


def _encode_extensions(extensions: Extensions) -> bytes:
    return vector(2, b"".join(number.to_bytes(2, "big") + vector(2, data) for number, data in extensions))


def _read_extensions(reader: Reader) -> dict[int, bytes]:
    extensions: dict[int, bytes] = {}
    if reader.left:
        inner = Reader(reader.vector(2))
        while inner.left:
            number = inner.uint(2)
            extensions[number] = inner.vector(2)
    reader.finish()
    return extensions


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What a client offers. ``extensions`` are raw bodies by number."""

    random: bytes
    session_id: bytes
    cookie: bytes
    suites: tuple[int, ...]
    extensions: dict[int, bytes] = field(default_factory=dict)

    @classmethod
    def parse(cls, body: bytes) -> ClientHello:
        reader = Reader(body)
        if reader.take(2) != VERSION:
            raise WireError("ClientHello of another protocol version", expected="DTLS 1.2")
        random, session_id, cookie = reader.take(RANDOM_SIZE), reader.vector(1), reader.vector(1)
        suites = _numbers(reader.vector(2))
        if 0 not in reader.vector(1):
            raise WireError("ClientHello without null compression")
        return cls(random, session_id, cookie, suites, _read_extensions(reader))

    def offers_raw_public_keys(self) -> bool:
        """Whether both ends may use raw public keys."""
        return all(
            RAW_PUBLIC_KEY in self.extensions.get(number, b"")[1:]
            for number in (Extension.CLIENT_CERTIFICATE_TYPE, Extension.SERVER_CERTIFICATE_TYPE)
        )

    def offers_p256(self) -> bool:
        """Whether the one curve in use is offered; a client without the extension takes any."""
        groups = self.extensions.get(Extension.SUPPORTED_GROUPS)
        return groups is None or CURVE_P256 in _numbers(Reader(groups).vector(2))

    def connection_id(self) -> bytes | None:
        """The CID the client wants to receive (boards: empty), ``None`` when it does not offer CIDs."""
        data = self.extensions.get(Extension.CID)
        return None if data is None else Reader(data).vector(1)


def _numbers(data: bytes) -> tuple[int, ...]:
    return tuple(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))


def device_client_hello(random: bytes, cookie: bytes, *, offer_cid: bool) -> bytes:
    """Body of the ClientHello that Device OS sends."""
    extensions: list[tuple[int, bytes]] = [
        (Extension.SIGNATURE_ALGORITHMS, bytes.fromhex("00080403040103030301")),
        (Extension.SUPPORTED_GROUPS, bytes.fromhex("00020017")),
        (Extension.EC_POINT_FORMATS, b"\x01\x00"),
    ]
    if offer_cid:
        extensions.append((Extension.CID, b"\x00"))
    extensions.append((Extension.CLIENT_CERTIFICATE_TYPE, b"\x01\x02"))
    extensions.append((Extension.SERVER_CERTIFICATE_TYPE, b"\x01\x02"))
    suites = CIPHER_SUITE.to_bytes(2, "big") + RENEGOTIATION_SCSV.to_bytes(2, "big")
    head = VERSION + random + vector(1, b"") + vector(1, cookie) + vector(2, suites) + vector(1, b"\x00")
    return head + _encode_extensions(tuple(extensions))


def hello_verify_request(cookie: bytes) -> bytes:
    """Body of a HelloVerifyRequest."""
    return VERSION + vector(1, cookie)


def parse_hello_verify_request(body: bytes) -> bytes:
    """The cookie."""
    reader = Reader(body)
    reader.take(2)  # the server may say DTLS 1.0 here
    cookie = reader.vector(1)
    reader.finish()
    return cookie


@dataclass(frozen=True, slots=True)
class ServerHello:
    """What the server chose. ``cid`` is ``None`` when the extension is absent."""

    random: bytes
    session_id: bytes
    cid: bytes | None
    extensions: dict[int, bytes] = field(default_factory=dict)

    def encode(self) -> bytes:
        """The body, with both certificate types echoed as a single byte."""
        extensions: list[tuple[int, bytes]] = [(Extension.RENEGOTIATION_INFO, b"\x00")]
        if self.cid is not None:
            extensions.append((Extension.CID, vector(1, self.cid)))
        extensions.append((Extension.EC_POINT_FORMATS, b"\x01\x00"))
        extensions.append((Extension.CLIENT_CERTIFICATE_TYPE, bytes([RAW_PUBLIC_KEY])))
        extensions.append((Extension.SERVER_CERTIFICATE_TYPE, bytes([RAW_PUBLIC_KEY])))
        head = VERSION + self.random + vector(1, self.session_id) + CIPHER_SUITE.to_bytes(2, "big") + b"\x00"
        return head + _encode_extensions(tuple(extensions))

    @classmethod
    def parse(cls, body: bytes) -> ServerHello:
        reader = Reader(body)
        if reader.take(2) != VERSION:
            raise WireError("ServerHello of another protocol version", expected="DTLS 1.2")
        random, session_id = reader.take(RANDOM_SIZE), reader.vector(1)
        if (suite := reader.uint(2)) != CIPHER_SUITE or reader.uint(1) != 0:
            raise WireError("ServerHello chose what was not offered", found=f"{suite:04x}")
        extensions = _read_extensions(reader)
        cid = extensions.get(Extension.CID)
        return cls(random, session_id, None if cid is None else Reader(cid).vector(1), extensions)

    def uses_raw_public_keys(self) -> bool:
        """Whether both certificate types were echoed."""
        return all(
            self.extensions.get(number) == bytes([RAW_PUBLIC_KEY])
            for number in (Extension.CLIENT_CERTIFICATE_TYPE, Extension.SERVER_CERTIFICATE_TYPE)
        )


def exchange_parameters(point: bytes) -> bytes:
    """The signed part of a ServerKeyExchange."""
    return bytes([_NAMED_CURVE]) + CURVE_P256.to_bytes(2, "big") + vector(1, point)


def signed(signature: bytes) -> bytes:
    """A signature with its algorithm: CertificateVerify, and the tail of a ServerKeyExchange."""
    return ECDSA_SHA256 + vector(2, signature)


def read_signed(reader: Reader) -> bytes:
    """The ECDSA-SHA256 signature at the end of a message."""
    if (algorithm := reader.take(2)) != ECDSA_SHA256:
        raise WireError("signature of another algorithm", expected="0403", found=algorithm.hex())
    signature = reader.vector(2)
    reader.finish()
    return signature


def parse_server_key_exchange(body: bytes) -> tuple[bytes, bytes]:
    """The server's point and its signature."""
    reader = Reader(body)
    if reader.uint(1) != _NAMED_CURVE or reader.uint(2) != CURVE_P256:
        raise WireError("key exchange on another curve", expected="P-256", found=body[:3].hex())
    return reader.vector(1), read_signed(reader)


def certificate(spki: bytes) -> bytes:
    """Body of a raw-public-key Certificate: one 3-byte length, not a list."""
    return vector(3, spki)


def parse_certificate(body: bytes) -> bytes:
    """The SPKI DER; empty when the client sent none."""
    reader = Reader(body)
    spki = reader.vector(3)
    reader.finish()
    return spki


# Types RSA and ECDSA, algorithms 0401 and 0403, no authorities: as mbedTLS asks.
CERTIFICATE_REQUEST = bytes.fromhex("0201400004040104030000")


def client_key_exchange(point: bytes) -> bytes:
    """Body of a ClientKeyExchange."""
    return vector(1, point)


def parse_client_key_exchange(body: bytes) -> bytes:
    """The client's point."""
    reader = Reader(body)
    point = reader.vector(1)
    reader.finish()
    return point
