"""What an arriving datagram is, before any session is known: handshake, record, or one of the resume forms.

Facts: protocol fact sheet 2.7, the server algorithm.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from hil.errors import WireError
from hil.wire.dtls.handshake_messages import HEADER_SIZE as MESSAGE_HEADER
from hil.wire.dtls.handshake_messages import RANDOM_SIZE, Fragment, HandshakeType
from hil.wire.dtls.records import CID_SIZE, HEADER_SIZE, ContentType, version_fits

_DEVICE_ID_SIZE = 12
_VERSION_SIZE = 2
_LAST_HELLO = 255  # a real client says hello two or three times
_CID_AT = 11


class Form(Enum):
    """Forms of a datagram."""

    HANDSHAKE = "handshake records in clear"
    PLAIN = "protected record without Connection ID"
    CID = "record with Connection ID"
    MOVE = "record with Connection ID, marked as resumed"
    DEVICE_ID = "record with device id behind it, marked as resumed"
    OTHER = "not DTLS 1.2 of a board"


@dataclass(frozen=True, slots=True)
class Incoming:
    """A datagram told apart. ``record`` is the datagram with the resume mark undone.

    ``device_id`` (12 bytes) comes with ``DEVICE_ID``, ``cid`` (8 bytes) with ``CID`` and ``MOVE``; neither is
    authentic before the record opens. ``hello`` comes with a datagram that begins with a ClientHello or a piece
    of one, together with the ``number`` of its record; its message number is above 0 once the client has got a
    HelloVerifyRequest.
    """

    form: Form
    record: bytes
    device_id: bytes | None = None
    cid: bytes | None = None
    hello: Fragment | None = None
    number: int = 0

    @property
    def client_random(self) -> bytes | None:
        """The random of the ClientHello that begins here: another one is another handshake."""
        start = b"" if self.hello is None or self.hello.offset else self.hello.data
        random = start[_VERSION_SIZE : _VERSION_SIZE + RANDOM_SIZE]
        return random if len(random) == RANDOM_SIZE else None


def classify(datagram: bytes) -> Incoming:
    """Tell ``datagram`` apart; never raises."""
    if len(datagram) < HEADER_SIZE or not version_fits(datagram):
        return Incoming(Form.OTHER, datagram)
    kind = datagram[0]
    if kind == ContentType.RESUME_DEVICE_ID:
        return _with_device_id(datagram)
    if kind in (ContentType.CID, ContentType.RESUME_MOVE):
        return _with_cid(datagram, Form.CID if kind == ContentType.CID else Form.MOVE)
    if kind not in (20, 21, 22, 23):
        return Incoming(Form.OTHER, datagram)
    if datagram[3:5] == b"\x00\x00":
        return _handshake(datagram)
    return Incoming(Form.PLAIN, datagram)


def normalise(datagram: bytes) -> bytes:
    """``datagram`` as an ordinary record. Raises ``WireError`` when it is none."""
    incoming = classify(datagram)
    if incoming.form is Form.OTHER:
        raise WireError("not a record", found=datagram[:HEADER_SIZE].hex() or "nothing")
    return incoming.record


def _handshake(datagram: bytes) -> Incoming:
    """A datagram in clear. Read by hand: anybody may send these, as many as the network carries."""
    start = HEADER_SIZE + MESSAGE_HEADER
    size = int.from_bytes(datagram[22:start], "big")
    end = HEADER_SIZE + int.from_bytes(datagram[11:HEADER_SIZE], "big")
    if datagram[0] != ContentType.HANDSHAKE or not start + size <= end <= len(datagram):
        return Incoming(Form.HANDSHAKE, datagram)
    hello = Fragment(
        datagram[HEADER_SIZE],
        int.from_bytes(datagram[14:17], "big"),
        int.from_bytes(datagram[17:19], "big"),
        int.from_bytes(datagram[19:22], "big"),
        datagram[start : start + size],
    )
    fits = hello.offset + size <= hello.length and hello.sequence <= _LAST_HELLO
    if hello.type != HandshakeType.CLIENT_HELLO or not fits:
        return Incoming(Form.HANDSHAKE, datagram)
    number = int.from_bytes(datagram[5:11], "big")
    return Incoming(Form.HANDSHAKE, datagram, hello=hello, number=number)


def _with_device_id(datagram: bytes) -> Incoming:
    if len(datagram) < HEADER_SIZE + _DEVICE_ID_SIZE + 1 or datagram[-1] != _DEVICE_ID_SIZE:
        return Incoming(Form.OTHER, datagram)
    record = bytes([ContentType.APPLICATION]) + datagram[1 : -_DEVICE_ID_SIZE - 1]
    return Incoming(Form.DEVICE_ID, record, device_id=datagram[-_DEVICE_ID_SIZE - 1 : -1])


def _with_cid(datagram: bytes, form: Form) -> Incoming:
    if len(datagram) < HEADER_SIZE + CID_SIZE:
        return Incoming(Form.OTHER, datagram)
    record = bytes([ContentType.CID]) + datagram[1:]
    return Incoming(form, record, cid=datagram[_CID_AT : _CID_AT + CID_SIZE])
