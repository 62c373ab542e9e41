"""Updates by protocol V3: worked example 8.7 and each rule of protocol fact sheet 4.2."""

from __future__ import annotations

import contextlib
import hashlib
import json
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.device.results import Result
from hil.errors import UsageError, WireError
from hil.wire.coap.message import Code, Message, Option, Type, decode, empty_ack, encode, reset
from hil.wire.messages import Kind, classify
from hil.wire.ota.common import Pace
from hil.wire.ota.v3 import V3Receiver, V3Sender, messages
from hil.wire.ota.v3.windows import SendWindow
from tests.wire.ota_channel import counter, tokens

FILE = bytes(index % 256 for index in range(1000))
SHA = hashlib.sha256(FILE).digest()
LONG = Random(7).randbytes(512 * 40)


def sender(file: bytes = FILE, **options: Any) -> V3Sender:
    return V3Sender(file, next_mid=counter(0x1000), next_token=tokens(), **options)


def receiver(max_file: int = 1536000, **options: Any) -> V3Receiver:
    return V3Receiver(max_file, counter(0x2001), options.pop("validate", lambda _: 0), **options)


def start(
    file: bytes = FILE, *, size: int | None = None, sha256: bytes | None = None, mid: int = 0x1000
) -> Message:
    offer = messages.UpdateStart(len(file) if size is None else size, 512, sha256)
    return messages.update_start(mid, b"\x61", offer)


def chunk(index: int, file: bytes = FILE, mid: int = 0x1100) -> Message:
    return messages.update_chunk(mid + index, index, file[(index - 1) * 512 : index * 512])


def finish(mid: int = 0x1200) -> Message:
    return messages.update_finish(mid, b"\x62")


def taken(token: bytes = b"\x61", *, window: int = 256, offset: int = 0) -> Message:
    return messages.start_reply(0x2001, token, messages.StartReply(window, offset))


def ack(cumulative: int, *early: int) -> Message:
    return messages.update_ack(0x2100, cumulative, early)


def indices(sent: list[Message]) -> list[int | None]:
    return [message.uint(Option.CHUNK_INDEX) for message in sent if classify(message) is Kind.V3_CHUNK]


def acks(sent: list[Message]) -> list[messages.UpdateAck]:
    return [messages.parse_update_ack(message) for message in sent]


def receiving(file: bytes = LONG, **options: Any) -> V3Receiver:
    device = receiver(**options)
    device.receive(start(file), 0.0)
    return device


def sending(file: bytes = LONG, *, window: int = 256, **options: Any) -> tuple[V3Sender, list[Message]]:
    cloud = sender(file, **options)
    cloud.start(0.0)
    return cloud, cloud.receive(taken(window=window), 1.0)[1:]


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


# The cloud's side


def test_file_is_finished_when_the_device_says_so_and_its_answer_is_acknowledged() -> None:
    cloud, _ = sending(FILE)
    (end,) = cloud.receive(ack(2), 1.1)
    assert encode(end).hex() == "4102100362b146"
    assert cloud.progress == (1000, 1000)
    assert cloud.receive(empty_ack(end.mid), 1.2) == []
    assert (cloud.finished, cloud.result) == (False, "")
    answer = messages.finish_reply(0x2003, end.token, {"recv_chunks": 2})
    assert cloud.wants(answer)
    assert cloud.receive(answer, 1.3) == [empty_ack(0x2003)]
    assert cloud.finished
    assert cloud.result == '{"recv_chunks":2}'
    assert cloud.wants(answer)
    assert cloud.receive(answer, 1.4) == [empty_ack(0x2003)]  # the ACK was lost: it is given again


def test_offset_of_the_device_is_where_chunks_start() -> None:
    cloud = sender()
    cloud.start(0.0)
    (only,) = cloud.receive(taken(offset=600), 1.0)[1:]
    assert (only.uint(Option.CHUNK_INDEX), only.payload) == (1, FILE[600:])
    assert cloud.progress == (600, 1000)


def test_device_that_has_everything_is_only_told_to_finish() -> None:
    cloud = sender()
    cloud.start(0.0)
    assert [classify(sent) for sent in cloud.receive(taken(offset=1000), 1.0)[1:]] == [Kind.V3_FINISH]


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (taken(offset=1001), "behind the end"),
        (taken(window=0), "window"),
        (Message(Type.CON, Code.CREATED, 1, b"\x61"), "window None"),
    ],
)
def test_nonsense_in_the_reply_ends_the_update(reply: Message, words: str) -> None:
    cloud = sender()
    cloud.start(0.0)
    assert cloud.receive(reply, 0.1) == [empty_ack(reply.mid)]
    assert cloud.error is not None
    assert words in cloud.error


@pytest.mark.parametrize("type_", [Type.ACK, Type.CON])
def test_refusal_ends_the_update_with_the_devices_words(type_: Type) -> None:
    cloud = sender()
    (offer,) = cloud.start(0.0)
    refusal = messages.error_reply(type_, offer.mid, offer.token, -190, "too large")
    replies = cloud.receive(refusal, 0.1)
    assert replies == ([empty_ack(offer.mid)] if type_ is Type.CON else [])
    assert cloud.error == 'device refused the update: 5.03 {"code":-190,"message":"too large"}'


def test_reset_of_a_chunk_ends_the_update() -> None:
    cloud, chunks = sending()
    assert cloud.wants(reset(chunks[3].mid))
    assert not cloud.wants(reset(0x4444))
    cloud.receive(reset(chunks[3].mid), 1.1)
    assert cloud.error == "device reset the update"


def test_chunks_are_paced_and_stop_at_the_window() -> None:
    cloud, first = sending(window=10, pace=Pace(burst=4, interval=0.5))
    assert indices(first) == [1, 2, 3, 4]
    assert cloud.next_deadline() == 1.5
    assert cloud.tick(1.4) == []
    assert indices(cloud.tick(1.5)) == [5, 6, 7, 8]
    cloud.receive(ack(0, 2), 1.6)
    assert indices(cloud.tick(2.0)) == [9, 10]
    assert cloud.next_deadline() == 2.6  # the window is full: nothing to do until chunks are to be repeated
    assert indices(cloud.receive(ack(3), 2.51)) == [11, 12, 13]


def test_holes_are_filled_after_three_duplicate_acks_once() -> None:
    cloud, _ = sending(pace=Pace(burst=40, interval=0.0))
    cloud.receive(ack(2), 1.1)
    assert indices(cloud.receive(ack(2, 4), 1.11)) == [21]
    assert indices(cloud.receive(ack(2, 4, 6), 1.12)) == [22]
    assert indices(cloud.receive(ack(2, 4, 6, 7), 1.13)) == [3, 5]
    assert cloud.receive(ack(2, 4, 6, 7, 8), 1.14) == []


def test_unacknowledged_chunks_are_repeated_after_a_second_and_then_less_often() -> None:
    cloud, first = sending(pace=Pace(burst=40, interval=0.0))
    assert indices(first) == list(range(1, 17))
    assert indices(cloud.receive(ack(12), 1.2)) == list(range(17, 41))  # 16 + 12 may be on their way
    cloud.receive(ack(30, 33), 1.5)
    assert cloud.tick(2.4) == []
    outstanding = [31, 32, *range(34, 41)]
    assert indices(cloud.tick(2.5)) == outstanding
    assert cloud.next_deadline() == 4.5
    assert indices(cloud.tick(4.5)) == outstanding
    assert cloud.next_deadline() == 8.5
    cloud.receive(ack(33), 5.0)
    assert cloud.next_deadline() == 6.0


def test_how_many_chunks_are_on_their_way_follows_what_the_path_bears() -> None:
    window = SendWindow(3000, 256)
    assert window.take(500) == list(range(1, 17))
    flights = []
    for _ in range(6):
        window.acknowledge(window.cumulative + window.flight, ())
        flights.append(len(window.take(500)))
    assert flights == [32, 64, 128, 256, 256, 256]
    window.expire()  # all of the last flight is lost
    first = window.cumulative + 1
    assert window.take(500) == list(range(first, first + 128))
    window.acknowledge(first + 63, ())
    assert len(window.take(500)) == 64  # and no longer twice as many
    for _ in range(10):
        window.expire()
    assert len(window.take(500)) == 4


def test_overtaken_and_impossible_acks_change_nothing() -> None:
    cloud, _ = sending(pace=Pace(burst=20, interval=0.5))
    cloud.receive(ack(10), 1.1)
    for odd in (ack(9), ack(21), ack(41), ack(5, 12)):
        assert cloud.receive(odd, 1.2) == []
    assert cloud.progress == (5120, len(LONG))
    assert cloud.error is None


def test_broken_bitmap_ends_the_update() -> None:
    cloud, _ = sending()
    cloud.receive(Message(Type.NON, Code.POST, 1, b"", ((11, b"A"), (2049, b"")), b"\x02"), 1.1)
    assert cloud.error is not None
    assert "bitmap" in cloud.error


@pytest.mark.parametrize(
    ("stage", "at", "words"),
    [
        ("offered", 60.0, "no answer to UpdateStart within 60 s"),
        ("sending", 121.0, "device acknowledged nothing new for 120 s"),
        ("finishing", 92.0, "no answer to UpdateFinish within 90 s"),
    ],
)
def test_silence_ends_the_update(stage: str, at: float, words: str) -> None:
    cloud = sender()
    cloud.start(0.0)
    if stage != "offered":
        cloud.receive(taken(), 1.0)
    if stage == "finishing":
        cloud.receive(ack(2), 2.0)
    while (deadline := cloud.next_deadline()) is not None and deadline < at:
        cloud.tick(deadline)
    assert deadline == at
    cloud.tick(at)
    assert cloud.error == words
    assert cloud.next_deadline() is None


def test_cancel_tells_the_device() -> None:
    cloud, _ = sending()
    (message,) = cloud.cancel()
    assert messages.parse_update_finish(message) == messages.UpdateFinish(cancel=True, discard=True)
    answer = messages.finish_reply(0x2003, message.token, {})
    assert cloud.wants(answer)
    assert cloud.receive(answer, 1.3) == [empty_ack(0x2003)]
    assert (cloud.finished, cloud.error) == (False, "update cancelled")
    assert cloud.cancel() == []


@pytest.mark.parametrize("size", [508, 514, 1140])
def test_chunk_sizes_the_device_refuses_are_the_callers_mistake(size: int) -> None:
    with pytest.raises(UsageError, match="512 to 1136"):
        sender(chunk_size=size)


# The device's side


def test_device_applies_the_file_only_when_its_answer_is_acknowledged() -> None:
    device = receiver()
    device.receive(start(sha256=SHA), 0.0)
    for index in (1, 2):
        device.receive(chunk(index), 0.1)
    confirmation, answer = device.receive(finish(), 0.2)
    assert confirmation == empty_ack(0x1200)
    assert (answer.type, answer.code, answer.token) == (Type.CON, Code.CHANGED, b"\x62")
    assert json.loads(answer.payload) == {
        "recv_chunks": 2,
        "dup_chunks": 0,
        "ooo_chunks": 0,
        "sent_acks": 1,
        "proc_time": 0,
    }
    assert (device.active, device.complete) == (True, None)
    assert not device.wants(empty_ack(answer.mid + 1))
    assert device.wants(empty_ack(answer.mid))
    device.receive(empty_ack(answer.mid), 0.3)
    assert device.complete == FILE
    assert not device.active


def test_every_second_chunk_is_acknowledged() -> None:
    device = receiving()
    replies = [device.receive(chunk(index, LONG), 0.1) for index in (1, 2, 3, 4)]
    assert [acks(reply) for reply in replies[::2]] == [[], []]
    assert acks(replies[1] + replies[3]) == [
        messages.UpdateAck(2, frozenset()),
        messages.UpdateAck(4, frozenset()),
    ]


def test_single_chunk_is_acknowledged_after_200_ms() -> None:
    device = receiving()
    assert device.receive(chunk(1, LONG), 5.0) == []
    assert device.next_deadline() == pytest.approx(5.2)
    assert device.tick(5.1) == []
    assert acks(device.tick(5.2)) == [messages.UpdateAck(1, frozenset())]
    assert device.next_deadline() == 305.0


def test_last_chunk_is_acknowledged_at_once() -> None:
    device = receiving(FILE[:512])
    assert acks(device.receive(chunk(1), 0.1)) == [messages.UpdateAck(1, frozenset())]


def test_gap_duplicate_and_closed_gap_are_acknowledged_at_once() -> None:
    device = receiving()
    assert acks(device.receive(chunk(3, LONG), 0.1)) == [messages.UpdateAck(0, frozenset({3}))]
    assert acks(device.receive(chunk(3, LONG), 0.1)) == [messages.UpdateAck(0, frozenset({3}))]
    assert acks(device.receive(chunk(1, LONG), 0.1)) == [messages.UpdateAck(1, frozenset({3}))]
    assert acks(device.receive(chunk(2, LONG), 0.1)) == [messages.UpdateAck(3, frozenset())]
    assert acks(device.receive(chunk(1, LONG), 0.1)) == [messages.UpdateAck(3, frozenset())]


def test_chunk_beyond_the_window_is_ignored() -> None:
    file = bytes(512 * 300)
    device = receiving(file)
    assert device.receive(chunk(257, file), 0.1) == []
    assert acks(device.receive(chunk(256, file), 0.1)) == [messages.UpdateAck(0, frozenset({256}))]


@pytest.mark.parametrize(("chunk_size", "window"), [(512, 256), (1024, 128), (1136, 115)])
def test_window_is_128_kb(chunk_size: int, window: int) -> None:
    offer = messages.update_start(1, b"a", messages.UpdateStart(1536000, chunk_size))
    assert messages.parse_start_reply(receiver().receive(offer, 0.0)[1]) == messages.StartReply(window, 0)


@pytest.mark.parametrize(
    "options",
    [
        ((2057, b""), (2065, b"\x02\x00")),
        ((2057, b"\x10"),),
        ((2065, b"\x02\x00"),),
        ((2057, b"\x10"), (2065, b"\x01\xfc")),
        ((2057, b"\x10"), (2065, b"\x04\x74")),
        ((2057, b"\x10"), (2065, b"\x02\x01")),
        ((2057, b"\x10"), (2061, bytes(31)), (2065, b"\x02\x00")),
        ((2057, b"\x10"), (2065, b"\x02\x00"), (2069, b"\x01")),
        ((2057, bytes(5)), (2065, b"\x02\x00")),
    ],
)
def test_start_that_makes_no_sense_is_refused_in_the_ack(options: tuple[tuple[int, bytes], ...]) -> None:
    device = receiver()
    (reply,) = device.receive(Message(Type.CON, Code.POST, 7, b"\x61", ((11, b"S"), *options)), 0.0)
    assert (reply.type, reply.code, reply.mid, reply.token) == (Type.ACK, Code.BAD_REQUEST, 7, b"\x61")
    assert json.loads(reply.payload)["code"] == Result.PROTOCOL
    assert not device.active
    assert not device.drop_connection


def test_file_too_large_is_refused() -> None:
    device = receiver(max_file=1536000)
    confirmation, reply = device.receive(start(size=1536001), 0.0)
    assert confirmation == empty_ack(0x1000)
    assert (reply.type, reply.code, reply.token) == (Type.CON, Code.SERVICE_UNAVAILABLE, b"\x61")
    assert json.loads(reply.payload) == {
        "code": -190,
        "message": "file of 1536001 bytes, at most 1536000 fit",
    }
    assert not device.drop_connection
    device.receive(empty_ack(reply.mid), 0.1)
    assert device.drop_connection


def test_start_that_comes_twice_does_not_start_over() -> None:
    device = receiving()
    device.receive(chunk(1, LONG), 0.1)
    device.receive(start(LONG), 0.2)
    assert acks(device.receive(chunk(2, LONG), 0.3)) == [messages.UpdateAck(2, frozenset())]


def test_new_start_starts_over() -> None:
    device = receiving()
    device.receive(chunk(1, LONG), 0.1)
    device.receive(start(LONG, mid=0x1050), 0.2)
    assert acks(device.receive(chunk(2, LONG), 0.3)) == [messages.UpdateAck(0, frozenset({2}))]


@pytest.mark.parametrize("index", [0, 41])
def test_chunk_that_does_not_exist_resets_the_update(index: int) -> None:
    device = receiving()
    odd = messages.update_chunk(0x1100, index, bytes(512))
    assert device.receive(odd, 0.1) == [reset(0x1100)]
    assert (device.active, device.drop_connection) == (False, True)


@pytest.mark.parametrize(("index", "size"), [(1, 511), (1, 516), (2, 489), (2, 487)])
def test_chunk_of_the_wrong_size_resets_the_update(index: int, size: int) -> None:
    device = receiving(FILE)
    assert device.receive(messages.update_chunk(9, index, bytes(size)), 0.1) == [reset(9)]
    assert not device.active
    assert device.error is not None
    assert f"chunk {index} of {size} bytes" in device.error


def test_chunk_with_a_token_ends_the_update_with_a_response() -> None:
    device = receiving(FILE)
    odd = Message(Type.NON, Code.POST, 9, b"\x07", chunk(1).options, FILE[:512])
    (reply,) = device.receive(odd, 0.1)
    assert (reply.type, reply.code, reply.token) == (Type.NON, Code.BAD_REQUEST, b"\x07")
    assert (device.active, device.drop_connection) == (False, True)


def test_confirmable_chunk_is_refused_and_the_update_goes_on() -> None:
    device = receiving(FILE)
    odd = Message(Type.CON, Code.POST, 9, b"", chunk(1).options, FILE[:512])
    (reply,) = device.receive(odd, 0.1)
    assert (reply.type, reply.code, reply.mid) == (Type.ACK, Code.BAD_REQUEST, 9)
    assert device.active
    assert not device.drop_connection


def test_chunk_without_an_update_is_reset_and_the_connection_stays() -> None:
    device = receiver()
    assert device.receive(chunk(1), 0.1) == [reset(0x1101)]
    assert not device.drop_connection


def test_finish_without_an_update_is_an_error() -> None:
    confirmation, reply = receiver().receive(finish(), 0.1)
    assert confirmation == empty_ack(0x1200)
    assert (reply.type, reply.code) == (Type.CON, Code.SERVICE_UNAVAILABLE)
    assert json.loads(reply.payload)["code"] == Result.INVALID_STATE


@pytest.mark.parametrize(
    ("problem", "code"),
    [("incomplete", Result.PROTOCOL), ("hash", -1331), ("refused", Result.INVALID_PLATFORM)],
)
def test_finish_reports_what_is_wrong_with_the_file(problem: str, code: int) -> None:
    device = receiver(validate=lambda _: Result.INVALID_PLATFORM if problem == "refused" else 0)
    device.receive(start(sha256=bytes(32) if problem == "hash" else None), 0.0)
    for index in (1,) if problem == "incomplete" else (1, 2):
        device.receive(chunk(index), 0.1)
    confirmation, reply = device.receive(finish(), 0.2)
    assert confirmation == empty_ack(0x1200)
    assert (reply.type, reply.token) == (Type.CON, b"\x62")
    assert json.loads(reply.payload)["code"] == code
    assert (device.active, device.drop_connection) == (False, False)
    device.receive(empty_ack(reply.mid), 0.3)
    assert (device.complete, device.drop_connection) == (None, True)


def test_cancelled_update_is_answered_and_dropped() -> None:
    device = receiving()
    message = messages.update_finish(9, b"\x62", cancel=True)
    confirmation, reply = device.receive(message, 0.1)
    assert confirmation == empty_ack(9)
    assert reply.code == Code.CHANGED
    assert (device.active, device.complete) == (False, None)


def test_silence_ends_the_update_and_the_connection() -> None:
    device = receiving(silence_limit=300.0)
    assert device.next_deadline() == 300.0
    device.tick(299.9)
    assert device.active
    device.tick(300.0)
    assert (device.active, device.timed_out, device.drop_connection) == (False, True, True)
