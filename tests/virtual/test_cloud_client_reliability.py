"""Confirmation, duplicates and keep-alive: protocol fact sheet 1.5, 2.8, 2.9."""

from __future__ import annotations

import pytest

from hil.virtual.app.wiring import AckMode, PublishState
from hil.virtual.cloudclient.timing import Timing
from hil.wire import messages
from hil.wire.coap import message as coap
from hil.wire.coap.message import Code, Message, Option, Type
from hil.wire.messages import Kind
from tests.virtual.cloudbench import BOARDS, UDP_BOARDS, Bench

IMPATIENT = Timing(ack_timeout=0.01, back_off=0.005)
PINGING = Timing(ping_interval=0.01, ping_timeout=60, back_off=0.005)
LONELY = Timing(ping_interval=0.01, ping_timeout=0.01, back_off=0.005)


@pytest.mark.parametrize("model", UDP_BOARDS)
def test_dead_hello_is_sent_four_times_and_ends_the_session(model: str) -> None:
    with Bench(model, timing=IMPATIENT) as bench:
        bench.boot()
        sends = [bench.server.receive() for _ in range(4)]
        assert len(set(sends)) == 1
        assert messages.classify(sends[0]) is Kind.HELLO
        assert len(set(bench.udp.datagrams)) == 4  # each in a record of its own
        bench.facts.wait_log("not acknowledged")
        fresh = bench.server.receive()
        assert messages.classify(fresh) is Kind.HELLO
        assert fresh.mid == sends[0].mid + 1
        assert bench.udp.handshakes == 2
        assert not bench.client.connected


@pytest.mark.parametrize("model", UDP_BOARDS)
def test_unacknowledged_event_ends_the_session_and_fails(model: str) -> None:
    with Bench(model, timing=IMPATIENT) as bench:
        bench.online()
        publication = bench.client.publish("lost", b"x", ttl=60, ack=AckMode.WITH_ACK)
        # On a loaded machine this patience is too short for an event of the beginning, which then comes twice.
        lost = [
            bench.server.until(lambda message: b"lost" in message.options_of(Option.URI_PATH))
            for _ in range(4)
        ]
        assert len(set(lost)) == 1
        assert messages.parse_event(lost[0]).name == "lost"
        assert messages.classify(bench.server.receive()) is Kind.HELLO
        assert bench.udp.handshakes == 2
        assert publication.state is PublishState.FAILED


@pytest.mark.parametrize("model", UDP_BOARDS)
def test_acknowledged_after_a_repetition_all_is_well(model: str) -> None:
    with Bench(model, timing=IMPATIENT) as bench:
        bench.boot()
        first = bench.server.receive()
        assert bench.server.receive() == first
        bench.server.answer(first)
        assert messages.classify(bench.server.until(lambda message: message != first)) is Kind.DESCRIBE
        assert bench.udp.handshakes == 1


@pytest.mark.parametrize("model", BOARDS)
def test_idle_board_pings_and_is_content_with_an_ack(model: str) -> None:
    with Bench(model, timing=PINGING) as bench:
        bench.boot()
        while not bench.client.connected:
            bench.server.answer(bench.server.receive())
        for _ in range(3):
            ping = bench.server.until(lambda message: message.is_empty)
            assert bench.server.raw[-1] == bytes.fromhex(f"4000{ping.mid:04x}")
            bench.server.answer(ping)
        assert bench.client.connected


def test_unanswered_ping_ends_the_tcp_connection() -> None:
    with Bench("photon", timing=LONELY) as bench:
        bench.boot()
        bench.server.until(lambda message: message.is_empty)
        bench.facts.wait_log("no answer to a ping")
        bench.tcp.accept()
        assert messages.classify(bench.server.receive()) is Kind.HELLO


@pytest.mark.parametrize("model", UDP_BOARDS)
def test_unanswered_ping_ends_the_connection_but_not_the_session(model: str) -> None:
    with Bench(model, timing=LONELY) as bench:
        bench.boot()
        bench.server.until(lambda message: message.is_empty)
        bench.facts.wait_log("no answer to a ping")
        bench.server.receive()
        assert bench.udp.handshakes == 1


@pytest.mark.parametrize("model", UDP_BOARDS)
def test_repeated_request_gets_the_same_ack_and_is_not_done_twice(model: str) -> None:
    with Bench(model) as bench:
        bench.online()
        call = messages.function_call(0x7000, b"x", "led", b"on")
        bench.server.send(call)
        first = [bench.server.receive(), bench.server.receive()]
        assert first[0] == coap.empty_ack(0x7000)
        bench.server.answer(first[1])
        bench.server.send(call)
        assert bench.server.receive() == coap.empty_ack(0x7000)
        bench.server.assert_silent()
        assert bench.application.calls == ["on"]


@pytest.mark.parametrize("model", UDP_BOARDS)
def test_repeated_event_is_delivered_once_and_its_refusal_is_repeated(model: str) -> None:
    with Bench(model) as bench:
        bench.online()
        limit = bench.profile.max_data
        event = messages.event(0x7000, "motion/open", b"1", confirmable=True)
        too_long = messages.function_call(0x7001, b"y", "led", b"x" * (limit + 1))
        for message in (event, event, too_long, too_long):
            bench.server.send(message)
        answers = [bench.server.receive() for _ in range(4)]
        refusal = Message(Type.ACK, Code.BAD_REQUEST, 0x7001)
        assert answers == [coap.empty_ack(0x7000), coap.empty_ack(0x7000), refusal, refusal]
        bench.server.assert_silent()
        assert bench.application.wait_events(1) == [("motion/open", b"1")]


@pytest.mark.parametrize("model", UDP_BOARDS)
def test_unconfirmable_events_are_not_told_apart(model: str) -> None:
    with Bench(model) as bench:
        bench.online()
        event = messages.event(0x7000, "motion/open/now", b"1", confirmable=False)
        bench.server.send(event)
        bench.server.send(event)
        bench.server.assert_silent()
        assert bench.application.wait_events(2) == [("motion/open/now", b"1")] * 2


def test_tcp_knows_no_retransmission() -> None:
    with Bench("photon", timing=IMPATIENT) as bench:
        bench.boot()
        bench.tcp.accept()
        bench.server.answer(bench.server.receive())
        # Nothing else is acknowledged; the board is online all the same, and repeats nothing.
        said = [bench.server.receive() for _ in range(11)]
        bench.facts.wait_log("cloud connected")
        bench.server.assert_silent()
        assert len(set(said)) == 11
