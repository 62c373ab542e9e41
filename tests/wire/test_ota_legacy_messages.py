"""Messages of the legacy update protocol: worked example 8.7 and any bytes."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.errors import UsageError, WireError
from hil.wire.coap.message import Message, Type, decode, encode
from hil.wire.ota.legacy import messages
from tests.wire.ota_legacy_updates import (
    FILE,
    ready,
    receiver,
    sender,
)

# Worked example 8.7


def test_worked_example_begin() -> None:
    assert encode(sender().start(0.0)[0]).hex() == "4102100061b175ff010200000003e80000000000"


def test_worked_example_ready() -> None:
    device = receiver()
    replies = device.receive(decode(bytes.fromhex("4102100061b175ff010200000003e80000000000")), 0.0)
    assert [encode(reply).hex() for reply in replies] == ["60001000", "4144200161ff01"]


def test_worked_example_chunk() -> None:
    built = messages.chunk(0x1001, b"\x62", FILE[:512], 0, confirmable=True)
    assert encode(built) == bytes.fromhex("4102100162b163441c613576020000ff") + FILE[:512]


def test_worked_example_done() -> None:
    assert encode(messages.update_done(0x1003, b"\x63")).hex() == "4103100363b175"


def test_whole_worked_example_in_fast_mode() -> None:
    cloud = sender()
    cloud.start(0.0)
    ack, first, second, end = cloud.receive(ready(), 1.0)
    assert encode(ack).hex() == "60002001"
    assert encode(first) == bytes.fromhex("5102100162b163441c613576020000ff") + FILE[:512]
    assert second.payload == FILE[512:]
    assert encode(end).hex() == "4103100363b175"


# Messages


@pytest.mark.parametrize("token", [b"", b"ab"])
def test_tokens_are_one_byte(token: bytes) -> None:
    offer = messages.UpdateBegin(messages.BeginFlag.FAST, 512, 1000)
    with pytest.raises(UsageError):
        messages.update_begin(1, token, offer)
    with pytest.raises(UsageError):
        messages.chunk(1, token, b"data", 0, confirmable=False)


def test_missed_chunks_are_listed_big_endian() -> None:
    built = messages.chunk_missed(0x2002, [1, 0x1234], confirmable=True)
    assert encode(built).hex() == "40012002b163ff00011234"
    assert messages.parse_chunk_missed(built) == [1, 0x1234]


@given(
    st.builds(
        Message,
        st.sampled_from(list(Type)),
        st.integers(0, 255),
        st.integers(0, 65535),
        st.binary(max_size=8),
        st.lists(st.tuples(st.integers(0, 30), st.binary(max_size=20)), max_size=4).map(tuple),
        st.binary(max_size=40),
    )
)
def test_parsers_raise_wire_errors_only(message: Message) -> None:
    for parse in (messages.parse_update_begin, messages.parse_chunk, messages.parse_chunk_missed):
        with contextlib.suppress(WireError):
            parse(message)
