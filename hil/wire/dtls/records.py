"""DTLS 1.2 records: the header in front of every payload, with and without a Connection ID.

Facts: protocol fact sheet 2.4.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from hil.errors import WireError
from hil.wire.dtls.reader import Reader, vector

VERSION = b"\xfe\xfd"
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


def read_record(reader: Reader) -> Record:
    """The next record. Raises ``WireError``."""
    kind = reader.uint(1)
    version = reader.take(2)
    if version != VERSION:
        raise WireError("record of another protocol version", expected="fefd", found=version.hex())
    epoch, sequence = reader.uint(2), reader.uint(6)
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
