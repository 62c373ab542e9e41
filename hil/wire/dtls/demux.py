"""What an arriving datagram is, before any session is known: handshake, record, or one of the resume forms.

Facts: protocol fact sheet 2.7, the server algorithm.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from hil.errors import WireError
from hil.wire.dtls.records import CID_SIZE, HEADER_SIZE, ContentType, split_records, version_fits

_DEVICE_ID_SIZE = 12
_CLIENT_HELLO = 1
_HELLO_RANDOM = slice(14, 46)  # handshake header, version, then 32 random bytes
_MESSAGE_SEQUENCE = slice(4, 6)
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
    authentic before the record opens. ``client_random`` comes with a ClientHello: one that differs from the
    random of a known connection is a new handshake from the same address; ``hello_sequence`` is its message
    number, above 0 once the client has got a HelloVerifyRequest.
    """

    form: Form
    record: bytes
    device_id: bytes | None = None
    cid: bytes | None = None
    client_random: bytes | None = None
    hello_sequence: int = 0


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
    """A datagram in clear, with what identifies a ClientHello when it starts with the start of one."""
    records = split_records(datagram)
    hello = records[0].fragment if records and records[0].type == ContentType.HANDSHAKE else b""
    sequence = int.from_bytes(hello[_MESSAGE_SEQUENCE], "big")
    if len(hello) < _HELLO_RANDOM.stop or hello[0] != _CLIENT_HELLO or hello[6:9] != b"\x00\x00\x00":
        return Incoming(Form.HANDSHAKE, datagram)
    if sequence > _LAST_HELLO:
        return Incoming(Form.HANDSHAKE, datagram)
    return Incoming(Form.HANDSHAKE, datagram, client_random=hello[_HELLO_RANDOM], hello_sequence=sequence)


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
