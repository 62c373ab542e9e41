"""Flights: the messages one end sends in a row, packed into datagrams anew each time they are sent."""

from __future__ import annotations

from dataclasses import dataclass

from hil.wire.dtls.handshake_messages import HEADER_SIZE as MESSAGE_HEADER
from hil.wire.dtls.handshake_messages import HandshakeMessage
from hil.wire.dtls.records import HEADER_SIZE as RECORD_HEADER
from hil.wire.dtls.records import ContentType, Record
from hil.wire.dtls.session import Session

ETHERNET_MTU = 1400  # a whole flight fits: at most 392 bytes
FALLBACK_MTU = 508  # what a board falls back to after the second timeout
_MIN_FRAGMENT = 16


@dataclass(frozen=True, slots=True)
class ChangeCipherSpec:
    """The one-byte message that announces epoch 1."""


@dataclass(frozen=True, slots=True)
class Protected:
    """A handshake message sent in epoch 1: Finished."""

    message: HandshakeMessage


FlightItem = HandshakeMessage | ChangeCipherSpec | Protected


class FlightPacker:
    """Packs flights; counts the record numbers of epoch 0. Protected items use the session's own counter."""

    def __init__(self, first_number: int = 0) -> None:
        self._sequence = first_number

    def clear_record(self, content_type: int, payload: bytes) -> bytes:
        """A record in clear with the next number."""
        record = Record(content_type, 0, self._sequence, payload).encode()
        self._sequence += 1
        return record

    def pack(self, flight: list[FlightItem], session: Session | None, mtu: int) -> list[bytes]:
        """``flight`` as datagrams of at most ``mtu`` bytes."""
        datagrams = [b""]
        for item in flight:
            if isinstance(item, HandshakeMessage):
                self._fragments(item, datagrams, mtu)
                continue
            if isinstance(item, ChangeCipherSpec):
                record = self.clear_record(ContentType.CHANGE_CIPHER_SPEC, b"\x01")
            else:
                assert session is not None
                record = session.seal(item.message.encode(), content_type=ContentType.HANDSHAKE)
            if len(datagrams[-1]) + len(record) > mtu:
                datagrams.append(b"")
            datagrams[-1] += record
        return [datagram for datagram in datagrams if datagram]

    def _fragments(self, message: HandshakeMessage, datagrams: list[bytes], mtu: int) -> None:
        overhead = RECORD_HEADER + MESSAGE_HEADER
        offset = 0
        while True:
            left = len(message.body) - offset
            room = mtu - len(datagrams[-1]) - overhead
            if room < min(left, _MIN_FRAGMENT):
                datagrams.append(b"")
                room = mtu - overhead
            size = min(left, room)
            datagrams[-1] += self.clear_record(ContentType.HANDSHAKE, message.fragment(offset, size))
            offset += size
            if offset >= len(message.body):
                return
