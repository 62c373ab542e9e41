"""Publishing, subscribing while online, and the limits: protocol fact sheet 3.4, 3.5, 6."""

from __future__ import annotations

import time

import pytest

from hil.virtual.app.wiring import AckMode, Publication, PublishState
from hil.virtual.cloudclient.rate_limit import PublishRate
from hil.virtual.cloudclient.timing import Timing
from hil.wire import messages
from hil.wire.coap.message import Code, Message, Type
from hil.wire.messages import Kind
from tests.clock.standing import standing_clock
from tests.virtual.cloudbench import BOARDS, INTRODUCTION, UDP_BOARDS, Bench
from tests.virtual.scripted_server import WITHIN

LIMITS = {"photon": 622, "boron": 622, "electron": 864, "argon": 1024}


def settled(publication: Publication) -> PublishState:
    """What became of it: the states move on the board's own thread."""
    until = time.monotonic() + WITHIN
    while publication.state is PublishState.PENDING and time.monotonic() < until:
        time.sleep(0.001)
    return publication.state


@pytest.mark.parametrize("model", BOARDS)
def test_event_bytes(model: str) -> None:
    with Bench(model) as bench:
        mid = bench.online()[-1].mid
        bench.app.publish("front/door", b"open")
        bench.server.answer(bench.server.receive())
        head = "50" if bench.profile.tcp else "40"
        assert bench.server.raw[-1].hex() == (
            f"{head}02{mid + 1 & 0xFFFF:04x}b1450a{b'front/door'.hex()}ff{b'open'.hex()}"
        )
        bench.app.publish("front/door", b"", ttl=3600)
        bench.server.answer(bench.server.receive())
        max_age = "320e10" if model == "argon" else "33000e10"
        assert bench.server.raw[-1].hex() == (
            f"{head}02{mid + 2 & 0xFFFF:04x}b1450a{b'front/door'.hex()}{max_age}"
        )


@pytest.mark.parametrize("model", BOARDS)
@pytest.mark.parametrize(
    ("ack", "on_udp", "on_tcp"),
    [
        (AckMode.DEFAULT, Type.CON, Type.NON),
        (AckMode.WITH_ACK, Type.CON, Type.CON),
        (AckMode.NO_ACK, Type.NON, Type.NON),
    ],
)
def test_flags_decide_about_confirmation(model: str, ack: AckMode, on_udp: Type, on_tcp: Type) -> None:
    with Bench(model) as bench:
        bench.online()
        publication = bench.app.publish("x", b"", ack=ack)
        event = bench.server.receive()
        assert event.type is (on_tcp if bench.profile.tcp else on_udp)
        if ack is AckMode.WITH_ACK:
            assert publication.state is PublishState.PENDING
        bench.server.answer(event)
        assert settled(publication) is PublishState.OK


@pytest.mark.parametrize("model", BOARDS)
def test_refused_by_the_cloud_or_never_acknowledged_means_failed(model: str) -> None:
    with Bench(model, timing=Timing(publish_ack=0.01)) as bench:
        bench.online()
        lost = bench.app.publish("lost", b"", ack=AckMode.WITH_ACK)
        bench.server.receive()
        assert settled(lost) is PublishState.FAILED
        refused = bench.app.publish("refused", b"", ack=AckMode.WITH_ACK)
        event = bench.server.receive()
        bench.server.send(Message(Type.ACK, Code.FORBIDDEN, event.mid))
        assert settled(refused) is PublishState.FAILED


@pytest.mark.parametrize("model", BOARDS)
def test_a_publish_under_way_fails_when_the_connection_ends(model: str) -> None:
    with Bench(model) as bench:
        bench.online()
        publication = bench.app.publish("x", b"", ack=AckMode.WITH_ACK)
        bench.server.receive()
        bench.client.stop()
        assert publication.state is PublishState.FAILED
        assert bench.app.publish("x", b"").state is PublishState.REFUSED


@pytest.mark.parametrize("model", BOARDS)
def test_limits_of_name_data_and_ttl(model: str) -> None:
    limit = LIMITS[model]
    with Bench(model) as bench:
        refused = PublishState.REFUSED
        bench.boot()
        assert bench.app.publish("early", b"").state is refused
        bench.introduced()
        assert bench.app.publish("", b"").state is refused
        assert bench.app.publish("n" * 65, b"").state is refused
        assert bench.app.publish("n", b"x" * (limit + 1)).state is refused
        assert bench.app.publish("n", b"", ttl=-1).state is refused
        assert bench.app.publish("n", b"", ttl=1 << 24).state is refused
        bench.app.publish("n" * 64, b"x" * limit)
        event = messages.parse_event(bench.server.receive())
        assert (event.name, len(event.data)) == ("n" * 64, limit)
        assert len(bench.server.raw[-1]) <= bench.profile.max_message


@pytest.mark.parametrize("model", BOARDS)
def test_fifth_event_in_a_second_is_refused(model: str) -> None:
    clock = standing_clock()
    with Bench(model, clock=clock) as bench:
        bench.online()
        states = [bench.app.publish(f"e{number}", b"").state for number in range(5)]
        assert states[-1] is PublishState.REFUSED
        assert PublishState.REFUSED not in states[:4]
        sent = [messages.parse_event(bench.server.receive()).name for _ in range(4)]
        assert sent == ["e0", "e1", "e2", "e3"]
        clock.advance(1.5)
        bench.app.publish("later", b"")
        assert messages.parse_event(bench.server.receive()).name == "later"


def test_rate_is_a_ring_of_the_last_five_attempts() -> None:
    rate = PublishRate()
    assert [rate.allows("x", now) for now in (0.0, 0.1, 0.2, 0.3, 0.4)] == [True] * 4 + [False]
    # The refused attempt took the place of the first: 0.1 counts now.
    assert not rate.allows("x", 1.05)
    assert rate.allows("x", 1.25)
    assert rate.allows("spark/device/name", 1.25)
    assert [rate.allows("particle/x", 2.0) for _ in range(254)].count(False) == 1


@pytest.mark.parametrize("model", BOARDS)
def test_subscribing_while_online_tells_the_new_prefix_only(model: str) -> None:
    with Bench(model) as bench:
        bench.online()
        application = bench.application
        assert bench.app.subscribe("weather", application.received)
        said = bench.server.take(1)[0]
        subscription = messages.parse_subscription(said)
        assert subscription.prefix == "weather"
        assert subscription.flags == (frozenset() if model == "argon" else frozenset("u"))
        bench.server.assert_silent()
        bench.server.send(messages.event(0x7000, "weather/us", b"rain", confirmable=False))
        assert application.wait_events(1) == [("weather/us", b"rain")]
        bench.app.unsubscribe()
        assert bench.app.subscribe("motion", application.received)
        assert messages.parse_subscription(bench.server.take(1)[0]).prefix == "motion"
        bench.server.assert_silent()
        bench.server.send(messages.event(0x7001, "weather/us", b"sun", confirmable=False))
        bench.server.send(messages.event(0x7002, "motion/open", b"1", confirmable=False))
        assert application.wait_events(2)[1:] == [("motion/open", b"1")]
        assert [bench.app.subscribe(f"p{n}", application.received) for n in range(4)] == [True] * 3 + [False]


@pytest.mark.parametrize("model", UDP_BOARDS)
def test_resume_knows_what_was_subscribed_late(model: str) -> None:
    with Bench(model) as bench:
        bench.online()
        bench.app.subscribe("weather", bench.application.received)
        bench.server.take(1)
        bench.server.assert_silent()
        reconnect(bench)
        assert [message.path[0] for message in bench.server.take(2)] == ["E", "E"]
        bench.facts.wait_log("cloud connected", 2)
        bench.server.assert_silent()
        # The server is not told of an unsubscription; the next session tells what is left.
        bench.app.unsubscribe()
        reconnect(bench)
        said = bench.server.take(4)
        assert [messages.parse_subscription(message).prefix for message in said[2:]] == ["particle", "spark"]
        assert bench.udp.handshakes == 1


def reconnect(bench: Bench) -> None:
    bench.client.drop()
    bench.client.connect()
    ping = bench.server.until(lambda message: message.is_empty)
    bench.server.answer(ping)


@pytest.mark.parametrize("model", BOARDS)
def test_subscriptions_made_before_the_announcement_are_told_once(model: str) -> None:
    with Bench(model) as bench:
        bench.boot()
        hello = bench.server.receive()
        bench.app.subscribe("weather", bench.application.received)
        bench.server.answer(hello)
        said = bench.server.take(INTRODUCTION[model])
        prefixes = [
            messages.parse_subscription(message).prefix
            for message in said
            if messages.classify(message) is Kind.SUBSCRIBE
        ]
        assert prefixes == ["particle", "spark", "motion/open", "weather"]
        bench.facts.wait_log("cloud connected")
        bench.server.assert_silent()
