"""The cloud's side of the legacy update protocol, each rule of protocol fact sheet 4.1."""

from __future__ import annotations

import pytest

from hil.errors import UsageError
from hil.wire.coap.message import Code, Type, empty_ack, encode, reset
from hil.wire.messages import Kind, classify
from hil.wire.ota.common import Pace
from hil.wire.ota.legacy import messages
from tests.wire.ota_legacy_updates import (
    FILE,
    answer,
    kinds,
    ready,
    sender,
)


def test_refused_offer_ends_the_update() -> None:
    cloud = sender()
    (offer,) = cloud.start(0.0)
    refusal = answer(offer, Code.SERVICE_UNAVAILABLE)
    assert cloud.wants(refusal)
    assert cloud.receive(refusal, 0.1) == []
    assert cloud.error == "device refused the update: 5.03"
    assert cloud.next_deadline() is None


def test_no_ready_ends_the_update_in_time() -> None:
    cloud = sender(ready_timeout=60.0)
    (offer,) = cloud.start(10.0)
    assert not cloud.wants(empty_ack(offer.mid))
    assert cloud.next_deadline() == 70.0
    assert cloud.tick(69.9) == []
    assert cloud.error is None
    cloud.tick(70.0)
    assert cloud.error == "no UpdateReady within 60 s"


def test_reset_of_the_offer_ends_the_update() -> None:
    cloud = sender()
    (offer,) = cloud.start(0.0)
    assert not cloud.wants(reset(offer.mid + 1))
    assert cloud.wants(reset(offer.mid))
    cloud.receive(reset(offer.mid), 0.1)
    assert cloud.error == "device reset the update"


def test_chunks_go_out_in_paced_batches() -> None:
    cloud = sender(bytes(512 * 10), pace=Pace(burst=4, interval=0.5))
    cloud.start(0.0)
    assert len(cloud.receive(ready(), 1.0)) == 1 + 4
    assert cloud.progress == (2048, 5120)
    assert cloud.tick(1.4) == []
    assert cloud.next_deadline() == 1.5
    assert kinds(cloud.tick(1.5)) == [Kind.CHUNK] * 4
    assert kinds(cloud.tick(2.0)) == [Kind.CHUNK] * 2 + [Kind.UPDATE_DONE]


def test_fast_chunks_are_non_with_a_one_byte_token_on_both_transports() -> None:
    for tcp in (False, True):
        cloud = sender(tcp=tcp)
        cloud.start(0.0)
        chunks = [sent for sent in cloud.receive(ready(), 1.0) if classify(sent) is Kind.CHUNK]
        assert [(chunk.type, len(chunk.token)) for chunk in chunks] == [(Type.NON, 1)] * 2


def test_missed_chunks_are_sent_again_and_done_follows() -> None:
    cloud = sender()
    cloud.start(0.0)
    end = cloud.receive(ready(), 1.0)[-1]
    assert cloud.receive(answer(end, Code.BAD_REQUEST), 1.1) == []
    assert cloud.error is None
    missed = messages.chunk_missed(0x2002, [1], confirmable=True)
    assert cloud.wants(missed)
    ack, chunk, again = cloud.receive(missed, 1.2)
    assert ack == empty_ack(0x2002)
    assert chunk.payload == FILE[512:]
    assert classify(again) is Kind.UPDATE_DONE
    assert again.token != end.token
    cloud.receive(answer(again, Code.CHANGED, b'{"r":0}'), 1.3)
    assert cloud.finished
    assert cloud.result == '{"r":0}'
    assert cloud.progress == (1000, 1000)


def test_list_of_missed_chunks_may_overtake_the_answer() -> None:
    cloud = sender()
    cloud.start(0.0)
    end = cloud.receive(ready(), 1.0)[-1]
    again = cloud.receive(messages.chunk_missed(0x2002, [0], confirmable=True), 1.1)[-1]
    assert not cloud.wants(answer(end, Code.BAD_REQUEST))
    cloud.receive(answer(again, Code.CHANGED, b'{"r":0}'), 1.2)
    assert cloud.finished


def test_answers_are_matched_by_token_not_by_message_id() -> None:
    cloud = sender(tcp=True)
    cloud.start(0.0)
    end = cloud.receive(messages.update_ready(9, b"\x61", fast=True, confirmable=False), 1.0)[-1]
    cloud.receive(answer(end, Code.CHANGED, b'{"r":0}', mid=0x7777), 1.1)
    assert cloud.finished


def test_negative_result_is_an_error() -> None:
    cloud = sender()
    cloud.start(0.0)
    end = cloud.receive(ready(), 1.0)[-1]
    cloud.receive(answer(end, Code.CHANGED, b'{"r":-1360}'), 1.1)
    assert cloud.error == "device refused the file: result -1360"
    assert not cloud.finished


@pytest.mark.parametrize(
    ("step", "words"), [(None, "answer to UpdateDone"), (Code.BAD_REQUEST, "list of missing chunks")]
)
def test_silence_at_the_end_is_an_error(step: Code | None, words: str) -> None:
    cloud = sender(answer_timeout=90.0)
    cloud.start(0.0)
    end = cloud.receive(ready(), 1.0)[-1]
    if step:
        cloud.receive(answer(end, step), 2.0)
    deadline = cloud.next_deadline()
    assert deadline == (92.0 if step else 91.0)
    cloud.tick(deadline)
    assert cloud.error == f"no {words} within 90 s"


@pytest.mark.parametrize("asked", [True, False])
def test_slow_mode_sends_one_chunk_at_a_time(asked: bool) -> None:
    cloud = sender(fast=asked)
    (offer,) = cloud.start(0.0)
    assert offer.payload[0] == asked
    _, first = cloud.receive(ready(fast=False), 1.0)
    assert encode(first)[:13] == bytes.fromhex("4102100162b163441c613576ff")
    assert cloud.receive(empty_ack(first.mid), 1.1) == []
    received = messages.chunk_received(0x2002, first.token, intact=True, confirmable=True)
    assert cloud.wants(received)
    ack, second = cloud.receive(received, 1.2)
    assert ack == empty_ack(0x2002)
    assert second.payload == FILE[512:]
    (end,) = cloud.receive(answer(second, Code.CHANGED), 1.3)  # a piggybacked answer will do as well
    assert classify(end) is Kind.UPDATE_DONE


def test_slow_chunk_with_a_bad_crc_is_sent_again_five_times_at_most() -> None:
    cloud = sender(fast=False)
    cloud.start(0.0)
    chunk = cloud.receive(ready(fast=False), 1.0)[-1]
    for _ in range(4):
        again = cloud.receive(answer(chunk, Code.BAD_REQUEST), 1.1)[-1]
        assert again.payload == chunk.payload
        assert (again.mid, again.token) != (chunk.mid, chunk.token)
        chunk = again
    assert cloud.receive(answer(chunk, Code.BAD_REQUEST), 1.2) == []
    assert cloud.error == "device refused chunk 0 5 times: 4.00"


def test_empty_file_is_the_callers_mistake() -> None:
    with pytest.raises(UsageError):
        sender(b"")
