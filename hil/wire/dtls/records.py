"""DTLS 1.2 records: the header in front of every payload, with and without a Connection ID.

Facts: protocol fact sheet 2.4.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from hil.errors import WireError
from hil.wire.dtls.reader import Reader, vector

VERSION = b"\xfe\xfd"
_OLDER_VERSION = b"\xfe\xff"  # what RFC 6347 lets the record of a first ClientHello say
CID_SIZE = 8
HEADER_SIZE = 13
MAX_SEQUENCE = (1 << 48) - 1


class ContentType(IntEnum):
    """First byte of a record. The two resume marks are Particle's own."""

    CHANGE_CIPHER_SPEC = 20
    ALERT = 21
    HANDSHAKE = 22
    APPLICATION = 23
    CID = 25
    RESUME_MOVE = 253
    RESUME_DEVICE_ID = 254


@dataclass(frozen=True, slots=True)
class Record:
    """One record as it travels; ``fragment`` is ciphertext in epoch 1. ``cid`` is empty outside type 25."""

    type: int
    epoch: int
    sequence: int
    fragment: bytes
    cid: bytes = b""

    @property
    def number(self) -> bytes:
        """Epoch and sequence number as the 8 bytes that nonce and additional data use."""
        return self.epoch.to_bytes(2, "big") + self.sequence.to_bytes(6, "big")

    def encode(self) -> bytes:
        """The record's bytes."""
        return bytes([self.type]) + VERSION + self.number + self.cid + vector(2, self.fragment)


def version_fits(head: bytes) -> bool:
    """Whether a record that starts with these 5 bytes or more may be one of DTLS 1.2.

    A handshake record in clear may still name DTLS 1.0: what counts is the version inside the ClientHello.
    """
    if head[1:3] == _OLDER_VERSION:
        return head[0] == ContentType.HANDSHAKE and head[3:5] == b"\x00\x00"
    return head[1:3] == VERSION


def read_record(reader: Reader) -> Record:
    """The next record. Raises ``WireError``."""
    head = reader.take(5)
    if not version_fits(head):
        raise WireError("record of another protocol version", expected="fefd", found=head[1:3].hex())
    kind, epoch, sequence = head[0], int.from_bytes(head[3:5], "big"), reader.uint(6)
    cid = reader.take(CID_SIZE) if kind == ContentType.CID else b""
    return Record(kind, epoch, sequence, reader.vector(2), cid)


def parse_record(datagram: bytes) -> Record:
    """The only record of ``datagram``. Raises ``WireError``."""
    reader = Reader(datagram)
    record = read_record(reader)
    reader.finish()
    return record


def split_records(datagram: bytes) -> list[Record]:
    """The records of ``datagram`` up to the first that is malformed; never raises."""
    reader = Reader(datagram)
    records: list[Record] = []
    while reader.left:
        try:
            records.append(read_record(reader))
        except WireError:
            break
    return records
