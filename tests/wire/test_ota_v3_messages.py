"""Messages of update protocol V3: worked example 8.7 and any bytes."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from hil.errors import WireError
from hil.wire.coap.message import Message, Option, Type, decode, empty_ack, encode
from hil.wire.ota.v3 import messages
from tests.wire.ota_v3_updates import (
    FILE,
    SHA,
    receiver,
    receiving,
    sender,
    sending,
    start,
    taken,
)

# Worked example 8.7


def test_worked_example_start() -> None:
    (offer,) = sender().start(0.0)
    assert encode(offer) == bytes.fromhex("4102100061b153e206f103e84d13") + SHA + bytes.fromhex("420200")
    assert SHA.hex() == "a8af099bf2e878609558dbf69d8f88f4a31040a8cf84b549a0cfa912f12ffc3f"
    assert messages.parse_update_start(offer) == messages.UpdateStart(1000, 512, SHA)


def test_worked_example_reply() -> None:
    replies = receiver().receive(start(), 0.0)
    assert [encode(reply).hex() for reply in replies] == ["60001000", "4141200161e206f8010040"]
    assert messages.parse_start_reply(replies[1]) == messages.StartReply(256, 0)


def test_worked_example_chunks() -> None:
    cloud = sender()
    cloud.start(0.0)
    confirmation, first, second = cloud.receive(taken(), 1.0)
    assert confirmation == empty_ack(0x2001)
    assert encode(first) == bytes.fromhex("50021001b143e106e901ff") + FILE[:512]
    assert encode(second) == bytes.fromhex("50021002b143e106e902ff") + FILE[512:]


def test_worked_example_acks() -> None:
    assert encode(messages.update_ack(0x2002, 2, ())).hex() == "50022002b141e106e902"
    assert encode(messages.update_ack(0x2003, 0, {2})).hex() == "50022003b141e006e9ff02000000"
    gap = decode(bytes.fromhex("50022003b141e006e9ff02000000"))
    assert messages.parse_update_ack(gap) == messages.UpdateAck(0, frozenset({2}))


def test_worked_example_finish() -> None:
    assert encode(messages.update_finish(0x1003, b"\x62")).hex() == "4102100362b146"
    cancelled = messages.update_finish(0x1003, b"\x62", cancel=True, discard=True)
    assert encode(cancelled).hex() == "4102100362b146e006fd40"
    assert messages.parse_update_finish(cancelled) == messages.UpdateFinish(cancel=True, discard=True)


# Messages


@given(st.integers(0, 3000), st.sets(st.integers(2, 256), max_size=40))
def test_bitmap_survives(cumulative: int, gaps: set[int]) -> None:
    early = frozenset(cumulative + gap for gap in gaps)
    message = decode(encode(messages.update_ack(1, cumulative, early)))
    assert messages.parse_update_ack(message) == messages.UpdateAck(cumulative, early)
    assert len(message.payload) % 4 == 0
    assert not message.payload.endswith(bytes(4))
    assert not message.payload or not message.payload[0] & 1


def test_files_over_64_kb_have_four_byte_sizes_in_device_messages() -> None:
    reply = messages.start_reply(1, b"a", messages.StartReply(256, 0x12345))
    assert reply.option(Option.FILE_SIZE) == bytes.fromhex("00012345")


OPTIONS = st.sampled_from([11, *(int(option) for option in Option if option >= 2049)])
ANY = st.builds(
    Message,
    st.sampled_from(list(Type)),
    st.sampled_from([2, 0x41, 0x44, 0x80, 0xA3]),
    st.integers(0, 65535),
    st.binary(max_size=2),
    st.lists(st.tuples(OPTIONS, st.binary(max_size=5)), max_size=4).map(
        lambda options: tuple(sorted(options, key=lambda option: option[0]))
    ),
    st.binary(max_size=16),
)


@given(ANY)
def test_parsers_raise_wire_errors_only(message: Message) -> None:
    for parse in (
        messages.parse_update_start,
        messages.parse_start_reply,
        messages.parse_update_ack,
        messages.parse_update_finish,
    ):
        with contextlib.suppress(WireError):
            parse(message)


@given(st.lists(st.tuples(st.sampled_from([b"S", b"C", b"F", b"A"]), ANY), max_size=6))
def test_neither_side_raises_on_garbage(garbage: list[tuple[bytes, Message]]) -> None:
    device = receiving()
    cloud, _ = sending()
    for path, odd in garbage:
        message = Message(odd.type, odd.code, odd.mid, odd.token, ((11, path), *odd.options), odd.payload)
        for end in (device, cloud):
            if end.wants(message):
                for reply in end.receive(message, 0.1):
                    encode(reply)
    assert device.complete is None
