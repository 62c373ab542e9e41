"""The device's side of the legacy update protocol, each rule of protocol fact sheet 4.1."""

from __future__ import annotations

import pytest

from hil.device.results import Result
from hil.wire.coap.message import Code, Message, Type, encode
from hil.wire.ota.legacy import messages
from tests.wire.ota_legacy_updates import (
    FILE,
    begin,
    done,
    fast_chunk,
    receiver,
    slow_chunk,
)


def test_device_stores_chunks_in_any_order_and_answers_with_the_result() -> None:
    device = receiver()
    device.receive(begin(), 0.0)
    assert device.receive(fast_chunk(1), 0.1) == []
    assert device.receive(fast_chunk(0), 0.2) == []
    (reply,) = device.receive(done(), 0.3)
    assert encode(reply) == bytes.fromhex("6144120063ff") + b'{"r":0}'
    assert device.complete == FILE
    assert device.receive(done(), 0.4) == [reply]


@pytest.mark.parametrize("tcp", [True, False])
def test_device_messages_are_confirmable_on_udp_only(tcp: bool) -> None:
    wanted = Type.NON if tcp else Type.CON
    device = receiver(tcp=tcp)
    assert device.receive(begin(), 0.0)[1].type is wanted
    assert device.receive(done(), 0.1)[1].type is wanted


@pytest.mark.parametrize(
    ("offer", "words"),
    [
        (begin(262145), "at most 262144 fit"),
        (begin(0), "file of 0 bytes"),
        (begin(chunk=513), "chunks of 513 bytes"),
        (begin(chunk=0), "chunks of 0 bytes"),
        (Message(Type.CON, Code.POST, 0x1000, b"\x61", ((11, b"u"),), b"short"), "12 bytes"),
    ],
)
def test_offer_that_does_not_fit_is_refused(offer: Message, words: str) -> None:
    device = receiver()
    assert [encode(reply).hex() for reply in device.receive(offer, 0.0)] == ["61a3100061"]
    assert not device.active
    assert device.error is not None
    assert words in device.error


def test_save_begin_is_an_offer_too() -> None:
    offer = Message(Type.CON, Code.POST, 0x1000, b"\x61", ((11, b"s"),), begin().payload)
    device = receiver()
    assert device.wants(offer)
    assert len(device.receive(offer, 0.0)) == 2
    assert device.active


def test_offer_that_comes_twice_does_not_start_over() -> None:
    device = receiver()
    device.receive(begin(), 0.0)
    device.receive(fast_chunk(0), 0.1)
    device.receive(begin(), 0.2)
    device.receive(fast_chunk(1), 0.3)
    device.receive(done(), 0.4)
    assert device.complete == FILE


def test_new_offer_starts_over() -> None:
    device = receiver()
    device.receive(begin(), 0.0)
    device.receive(fast_chunk(0), 0.1)
    device.receive(begin(mid=0x1050), 0.2)
    device.receive(fast_chunk(1), 0.3)
    reply, missed = device.receive(done(), 0.4)
    assert reply.code == Code.BAD_REQUEST
    assert messages.parse_chunk_missed(missed) == [0]


@pytest.mark.parametrize(
    ("received", "limit", "asked"), [(0, 40, 2), (5, 40, 7), (20, 40, 24), (50, 40, 40), (50, 20, 20)]
)
def test_device_asks_for_what_the_path_can_bear(received: int, limit: int, asked: int) -> None:
    file = bytes(512 * 120)
    device = receiver(missing_limit=limit)
    device.receive(begin(len(file)), 0.0)
    for index in range(received):
        device.receive(fast_chunk(index, file), 0.1)
    reply, missed = device.receive(done(), 0.2)
    assert encode(reply).hex() == "6180120063"
    assert messages.parse_chunk_missed(missed) == list(range(received, received + asked))


def test_padded_last_chunk_is_cut_to_size() -> None:
    device = receiver()
    device.receive(begin(), 0.0)
    padded = FILE[512:].ljust(512, b"\0")
    device.receive(fast_chunk(0), 0.1)
    device.receive(messages.chunk(0x1101, b"\x62", padded, 1, confirmable=False), 0.1)
    device.receive(done(), 0.2)
    assert device.complete == FILE


@pytest.mark.parametrize(
    "bad",
    [
        Message(Type.NON, Code.POST, 1, b"\x62", ((11, b"c"), (15, b"\0\0\0\0"), (15, b"\0\0")), FILE[:512]),
        messages.chunk(1, b"\x62", FILE[:100], 0, confirmable=False),
        messages.chunk(1, b"\x62", FILE[:512], 2, confirmable=False),
        messages.chunk(1, b"\x62", FILE[:512], None, confirmable=False),
        Message(Type.NON, Code.POST, 1, b"", fast_chunk(0).options, FILE[:512]),
    ],
    ids=["crc", "short", "index", "no-index", "no-token"],
)
def test_bad_fast_chunks_count_as_missing(bad: Message) -> None:
    device = receiver()
    device.receive(begin(), 0.0)
    assert device.receive(bad, 0.1) == []
    missed = device.receive(done(), 0.2)[1]
    assert messages.parse_chunk_missed(missed) == [0, 1]


def test_slow_chunks_are_acknowledged_and_answered_one_by_one() -> None:
    device = receiver()
    assert device.receive(begin(fast=False), 0.0)[1].payload == b"\0"
    replies = device.receive(slow_chunk(0, 0x1001), 0.1)
    assert [encode(reply).hex() for reply in replies] == ["60001001", "4144200262"]
    damaged = Message(Type.CON, Code.POST, 0x1002, b"\x62", slow_chunk(0, 0).options, FILE[512:])
    assert [encode(reply).hex() for reply in device.receive(damaged, 0.2)] == ["60001002", "4180200362"]
    device.receive(slow_chunk(1, 0x1003), 0.3)
    assert device.receive(done(), 0.4)[0].code == Code.CHANGED
    assert device.complete == FILE


def test_slow_chunk_that_comes_twice_is_stored_once() -> None:
    device = receiver()
    device.receive(begin(1024, fast=False), 0.0)
    for mid in (0x1001, 0x1001):
        assert device.receive(slow_chunk(0, mid), 0.1)[1].code == Code.CHANGED
    assert device.receive(done(), 0.4)[0].code == Code.BAD_REQUEST


def test_silence_ends_the_update() -> None:
    device = receiver(silence_limit=30.0)
    device.receive(begin(), 0.0)
    device.receive(fast_chunk(0), 5.0)
    assert device.next_deadline() == 35.0
    device.tick(34.9)
    assert device.active
    device.tick(35.0)
    assert (device.active, device.timed_out, device.complete) == (False, True, None)
    assert device.error == "no update message for 30 s"


def test_done_without_an_update_is_refused() -> None:
    assert [reply.code for reply in receiver().receive(done(), 0.0)] == [Code.BAD_REQUEST]


def test_refused_file_is_not_complete() -> None:
    device = receiver(validate=lambda _: Result.INVALID_PLATFORM)
    device.receive(begin(), 0.0)
    for index in range(2):
        device.receive(fast_chunk(index), 0.1)
    (reply,) = device.receive(done(), 0.2)
    assert reply.payload == b'{"r":-1360}'
    assert device.complete is None
