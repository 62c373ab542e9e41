from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.errors import WireError
from hil.netlab import pcap
from hil.netlab.pcap import Frame

# Ethernet + IPv4 + UDP by hand: 10.77.1.2:40000 -> 198.18.0.2:5684, payload "hi".
UDP_FRAME = bytes.fromhex(
    "020000000002 020000000001 08004500001e 00004000 40110000 0a4d0102 c61200029c40 1634 000a 00006869"
)
# 198.18.0.2:5683 -> 10.77.1.2:40001, 24 bytes of header, payload "abc", then Ethernet padding.
TCP_FRAME = bytes.fromhex(
    "020000000001 020000000002 0800"
    "4500002f 00004000 40060000 c6120002 0a4d0102"
    "1633 9c41 00000001 00000002 6018 ffff 0000 0000 02040218"
    "616263 0000"
)
ARP_FRAME = bytes.fromhex("ffffffffffff 020000000001 0806") + bytes(28)


def test_the_file_is_what_the_format_says() -> None:
    data = pcap.write([Frame(1_700_000_000_000_000_123, 60, b"\xaa\xbb")], snaplen=2)
    assert data.hex() == (
        "4d3cb2a1" "0200" "0400" "00000000" "00000000" "02000000" "01000000"
        "00f15365" "7b000000" "02000000" "3c000000" "aabb"
    )  # fmt: skip


@given(
    st.lists(
        st.builds(
            Frame, st.integers(0, (1 << 32) * 10**9 - 1), st.integers(0, 70000), st.binary(max_size=100)
        )
    )
)
def test_what_is_written_is_read(frames: list[Frame]) -> None:
    assert pcap.read(pcap.write(frames)) == frames


def test_microsecond_files_are_read_too() -> None:
    data = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + struct.pack("<IIII", 5, 7, 1, 1) + b"x"
    assert pcap.read(data) == [Frame(5_000_007_000, 1, b"x")]


@given(st.integers(0, 24 + 3 * (16 + len(UDP_FRAME)) - 1))
def test_a_file_cut_anywhere_is_a_wire_error_or_whole_frames(length: int) -> None:
    data = pcap.write([Frame(i, len(UDP_FRAME), UDP_FRAME) for i in range(3)])[:length]
    entry = 16 + len(UDP_FRAME)
    if length >= 24 and (length - 24) % entry == 0:
        assert len(pcap.read(data)) == (length - 24) // entry
    else:
        with pytest.raises(WireError):
            pcap.read(data)


@given(st.binary())
def test_garbage_is_a_wire_error(data: bytes) -> None:
    with pytest.raises(WireError):
        pcap.read(data)


@given(st.lists(st.binary(max_size=80)), st.binary(max_size=60))
def test_garbage_frames_never_break_the_reader(frames: list[bytes], tail: bytes) -> None:
    everything = [*frames, UDP_FRAME[:14] + tail, TCP_FRAME[: 14 + len(tail)]]
    for segment in pcap.segments(Frame(0, len(data), data) for data in everything):
        assert segment.payload_length >= 0


def test_segments_ports_and_sizes() -> None:
    data = pcap.write([Frame(i, len(raw), raw) for i, raw in enumerate([UDP_FRAME, ARP_FRAME, TCP_FRAME])])
    udp, tcp = pcap.segments(pcap.read(data))
    assert (udp.source, udp.source_port, udp.destination, udp.destination_port) == (
        "10.77.1.2",
        40000,
        "198.18.0.2",
        5684,
    )
    assert (udp.protocol, udp.payload, udp.payload_length) == ("udp", b"hi", 2)
    assert (tcp.protocol, tcp.time_ns, tcp.payload) == ("tcp", 2, b"abc")
    assert pcap.packets_per_port(data) == {
        ("udp", 40000): 1,
        ("udp", 5684): 1,
        ("tcp", 40001): 1,
        ("tcp", 5683): 1,
    }
    assert pcap.udp_payload_sizes(data, 5684) == [2]
    assert pcap.udp_payload_sizes(data, 5683) == []


def test_a_snapped_datagram_keeps_its_true_size() -> None:
    data = pcap.write([Frame(0, len(UDP_FRAME), UDP_FRAME[:-1])])
    (segment,) = pcap.segments(pcap.read(data))
    assert (segment.payload, segment.payload_length) == (b"h", 2)
