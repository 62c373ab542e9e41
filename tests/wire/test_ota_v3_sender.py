"""The cloud's side of update protocol V3, each rule of protocol fact sheet 4.2."""

from __future__ import annotations

import pytest

from hil.errors import UsageError
from hil.wire.coap.message import Code, Message, Option, Type, empty_ack, encode, reset
from hil.wire.messages import Kind, classify
from hil.wire.ota.common import Pace
from hil.wire.ota.v3 import messages
from hil.wire.ota.v3.windows import SendWindow
from tests.wire.ota_v3_updates import (
    FILE,
    LONG,
    ack,
    indices,
    sender,
    sending,
    taken,
)


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
