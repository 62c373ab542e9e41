"""The classic pcap file format, written and read; and the little of Ethernet, IPv4, UDP and TCP that counts need.

Files are little-endian with nanosecond times and link type Ethernet, which tcpdump and Wireshark read.
"""

from __future__ import annotations

import ipaddress
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hil.errors import WireError

MAGIC_NANOSECONDS = 0xA1B23C4D
MAGIC_MICROSECONDS = 0xA1B2C3D4
LINK_ETHERNET = 1

_FILE_HEADER = struct.Struct("<IHHiIII")
_RECORD_HEADER = struct.Struct("<IIII")
_ETHERTYPE_IPV4 = b"\x08\x00"
_PROTOCOLS = {6: "tcp", 17: "udp"}
_MAX_RECORD = 1 << 20


@dataclass(frozen=True, slots=True)
class Frame:
    """One captured frame. ``time_ns`` since 1970; ``length`` on the wire, ``data`` may be shorter (snaplen)."""

    time_ns: int
    length: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Segment:
    """A UDP datagram or TCP segment inside a frame.

    ``payload`` is what was captured of it; ``payload_length`` what the packet's own headers say, in bytes.
    """

    time_ns: int
    protocol: str
    source: str
    source_port: int
    destination: str
    destination_port: int
    payload: bytes
    payload_length: int


def file_header(snaplen: int) -> bytes:
    """The first 24 bytes of a file whose frames keep at most ``snaplen`` bytes."""
    return _FILE_HEADER.pack(MAGIC_NANOSECONDS, 2, 4, 0, 0, snaplen, LINK_ETHERNET)


def record(frame: Frame) -> bytes:
    """``frame`` as it stands in a file."""
    seconds, nanoseconds = divmod(frame.time_ns, 1_000_000_000)
    return _RECORD_HEADER.pack(seconds, nanoseconds, len(frame.data), frame.length) + frame.data


def write(frames: Iterable[Frame], snaplen: int = 65535) -> bytes:
    """A whole file."""
    return file_header(snaplen) + b"".join(record(frame) for frame in frames)


def read(data: bytes) -> list[Frame]:
    """The frames of a little-endian Ethernet file. Raises ``WireError`` for anything else, also if cut short."""
    if len(data) < _FILE_HEADER.size:
        raise WireError("not a pcap file", expected="at least 24 bytes", found=f"{len(data)} bytes")
    magic, _, _, _, _, _, link = _FILE_HEADER.unpack_from(data)
    units = {MAGIC_NANOSECONDS: 1, MAGIC_MICROSECONDS: 1000}
    if magic not in units or link != LINK_ETHERNET:
        raise WireError("not a pcap file of Ethernet frames", found=f"magic {magic:#x}, link type {link}")
    return list(_records(data, units[magic]))


def segments(frames: Iterable[Frame]) -> Iterator[Segment]:
    """The UDP datagrams and TCP segments in ``frames``; others, and later IP fragments, are left out."""
    for frame in frames:
        segment = _segment(frame)
        if segment is not None:
            yield segment


def packets_per_port(data: bytes) -> Counter[tuple[str, int]]:
    """How often each ("udp" or "tcp", port) occurs in a file, as source or destination."""
    counts: Counter[tuple[str, int]] = Counter()
    for segment in segments(read(data)):
        counts.update({(segment.protocol, p) for p in (segment.source_port, segment.destination_port)})
    return counts


def udp_payload_sizes(data: bytes, port: int) -> list[int]:
    """Payload sizes in bytes of the datagrams from or to UDP ``port`` in a file, in order."""
    return [
        s.payload_length
        for s in segments(read(data))
        if s.protocol == "udp" and port in (s.source_port, s.destination_port)
    ]


def _records(data: bytes, unit: int) -> Iterator[Frame]:
    offset = _FILE_HEADER.size
    while offset < len(data):
        if offset + _RECORD_HEADER.size > len(data):
            raise WireError("the pcap file is cut short", found=f"{len(data) - offset} bytes of a header")
        seconds, fraction, captured, length = _RECORD_HEADER.unpack_from(data, offset)
        offset += _RECORD_HEADER.size
        if captured > _MAX_RECORD or offset + captured > len(data):
            raise WireError("the pcap file is cut short", found=f"a frame of {captured} bytes at {offset}")
        yield Frame(seconds * 1_000_000_000 + fraction * unit, length, data[offset : offset + captured])
        offset += captured


def _segment(frame: Frame) -> Segment | None:
    if frame.data[12:14] != _ETHERTYPE_IPV4:
        return None
    packet = frame.data[14:]
    if len(packet) < 20 or packet[0] >> 4 != 4:
        return None
    header, total = (packet[0] & 15) * 4, int.from_bytes(packet[2:4])
    fragment_offset = int.from_bytes(packet[6:8]) & 0x1FFF
    protocol = _PROTOCOLS.get(packet[9])
    transport = packet[header:total]
    if protocol is None or fragment_offset or header < 20 or len(transport) < 8:
        return None
    if protocol == "tcp" and len(transport) < 13:
        return None
    own_header = 8 if protocol == "udp" else (transport[12] >> 4) * 4
    return Segment(
        frame.time_ns,
        protocol,
        str(ipaddress.IPv4Address(packet[12:16])),
        int.from_bytes(transport[0:2]),
        str(ipaddress.IPv4Address(packet[16:20])),
        int.from_bytes(transport[2:4]),
        transport[own_header:],
        max(total - header - own_header, 0),
    )
