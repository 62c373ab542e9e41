"""The device's side of update protocol V3, each rule of protocol fact sheet 4.2."""

from __future__ import annotations

import json

import pytest

from hil.device.results import Result
from hil.wire.coap.message import Code, Message, Type, empty_ack, reset
from hil.wire.ota.v3 import messages
from tests.wire.ota_v3_updates import (
    FILE,
    LONG,
    SHA,
    acks,
    chunk,
    finish,
    receiver,
    receiving,
    start,
)


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
