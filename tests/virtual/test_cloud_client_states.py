"""Coming and going: goodbye, back-off, stop, and connections that cannot be made (fact sheet 1.2, 3.9, 7)."""

from __future__ import annotations

import threading
from typing import NoReturn

import pytest

from hil.device import keys
from hil.device.keys import ServerAddress
from hil.device.requests import CloudState
from hil.virtual.app.wiring import AckMode, PublishState
from hil.virtual.cloudclient.client import back_off_factor
from hil.virtual.cloudclient.link import LinkDown
from hil.virtual.cloudclient.timing import Timing
from hil.wire import messages
from hil.wire.messages import Kind
from tests.virtual.cloudbench import BOARDS, UDP_BOARDS, Bench, device_key
from tests.virtual.scripted_server import WITHIN, server_ec, server_rsa

SHORT = Timing(back_off=0.005, goodbye=0.01, reset_goodbye=0.01)
NEVER_AGAIN = Timing(back_off=1000)


def test_back_off_doubles_every_five_attempts_up_to_128() -> None:
    assert [back_off_factor(attempts) for attempts in (0, 1, 5, 6, 10, 11, 35, 36, 40, 41, 1000)] == [
        *(1, 1, 1, 2, 2, 4, 64, 128, 128, 128, 128)
    ]


@pytest.mark.parametrize("model", BOARDS)
@pytest.mark.parametrize(("how", "payload"), [("user", "0102"), ("listening", "0104"), ("sleep", "0506ac02")])
def test_goodbye_bytes(model: str, how: str, payload: str) -> None:
    with Bench(model, timing=SHORT) as bench:
        mid = bench.online()[-1].mid + 1 & 0xFFFF
        bench.facts.listening = how == "listening"
        if how == "sleep":
            bench.client.stop("sleep", sleep_seconds=300)
        else:
            bench.client.disconnect()
        bench.server.receive()
        head = f"5002{mid:04x}b178d0ea" if bench.profile.tcp else f"4002{mid:04x}b178"
        assert bench.server.raw[-1].hex() == f"{head}ff{payload}"


@pytest.mark.parametrize("model", BOARDS)
def test_goodbye_of_a_reset_names_its_reason(model: str) -> None:
    with Bench(model, timing=SHORT) as bench:
        bench.online()
        bench.client.stop("reset", reset_code=140)
        goodbye = bench.server.receive()
        assert bench.server.raw[-1].hex().endswith("ff03058c01")
        assert messages.parse_goodbye(goodbye) == messages.Goodbye(5, 140)
        assert not bench.client._thread.is_alive()


@pytest.mark.parametrize("model", UDP_BOARDS)
def test_power_loss_says_nothing(model: str) -> None:
    with Bench(model) as bench:
        bench.online()
        bench.client.stop()
        assert bench.udp.discard() == []


@pytest.mark.parametrize("model", UDP_BOARDS)
def test_the_board_waits_for_the_ack_of_its_goodbye(model: str) -> None:
    with Bench(model) as bench:
        bench.online()
        bench.client.disconnect()
        goodbye = bench.server.receive()
        assert bench.client.state is CloudState.DISCONNECTING
        assert bench.app.publish("x", b"").state is PublishState.REFUSED
        bench.client.connect()  # not forgotten in the meantime
        bench.server.answer(goodbye)
        assert bench.server.receive().is_empty


@pytest.mark.parametrize("model", BOARDS)
def test_offline_until_told_to_connect(model: str) -> None:
    with Bench(model, timing=SHORT) as bench:
        bench.boot(auto_connect=False)
        assert bench.client.state is CloudState.DISCONNECTED
        assert bench.network.sockets == []
        bench.client.connect()
        bench.introduced()
        bench.client.disconnect()
        bench.server.until_kind(Kind.GOODBYE)
        made = len(bench.network.sockets)
        bench.client.connect()
        bench.server.receive() if not bench.profile.tcp else bench.tcp.accept()
        assert len(bench.network.sockets) == made + 1


@pytest.mark.parametrize("model", BOARDS)
@pytest.mark.parametrize("when", ["idle", "silent server", "backing off", "twice", "own thread"])
def test_stop_at_any_time(model: str, when: str) -> None:
    with Bench(model, timing=NEVER_AGAIN) as bench:
        if when == "backing off":
            bench.facts.address = None
        bench.boot(auto_connect=when != "idle")
        if when == "silent server" and not bench.profile.tcp:
            bench.udp.wait_datagram()
        if when == "backing off":
            bench.facts.wait_log("no server address")
        if when == "own thread":
            bench.client._call(bench.client.stop)
            bench.client._thread.join(WITHIN)
        bench.client.stop("reset")
        if when == "twice":
            bench.client.stop("reset")
        assert not bench.client._thread.is_alive()
        assert bench.client.state is CloudState.DISCONNECTED
        bench.client.connect()
        bench.client.disconnect()


def test_stop_of_a_client_that_was_never_started() -> None:
    with Bench("argon") as bench:
        bench.boot(start=False)
        bench.client.stop("reset")
        assert bench.app.publish("x", b"").state is PublishState.REFUSED


@pytest.mark.parametrize("model", BOARDS)
def test_stop_does_not_wait_for_an_answer_that_does_not_come(model: str) -> None:
    with Bench(model, timing=SHORT) as bench:
        bench.online()
        bench.client.stop("reset", reset_code=140)
        assert not bench.client._thread.is_alive()
        assert messages.classify(bench.server.receive()) is Kind.GOODBYE


@pytest.mark.parametrize("model", UDP_BOARDS)
def test_power_loss_cuts_a_goodbye_short(model: str) -> None:
    with Bench(model, timing=Timing(goodbye=1000)) as bench:
        bench.online()
        bench.client.disconnect()
        bench.server.until_kind(Kind.GOODBYE)
        bench.client.stop()
        assert not bench.client._thread.is_alive()


@pytest.mark.parametrize("model", BOARDS)
@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("no address", "no server address"),
        ("unknown host", "cannot resolve"),
        ("no key", "no keys in the configuration flash"),
        ("blank key", "bad key in the configuration flash"),
        ("foreign key", "the keys in the configuration flash are not"),
    ],
)
def test_what_keeps_a_board_offline_is_in_its_log(model: str, what: str, reason: str) -> None:
    with Bench(model) as bench:
        if what == "no address":
            bench.facts.address = None
        elif what == "unknown host":
            bench.facts.address = ServerAddress("$id.udp.particle.io")
        elif what == "no key":
            bench.facts.private_der = None
        elif what == "blank key":
            bench.facts.private_der = b"\xff" * 192
        else:
            other = device_key("argon") if bench.profile.tcp else device_key("photon")
            bench.facts.private_der = keys.private_der(other)
        bench.boot()
        bench.facts.wait_log(reason, 2)  # and it is tried again
        if what == "unknown host":
            major = bench.profile.version[0]
            bench.facts.wait_log(f"{bench.facts.device_id.hex()}.v{major}.udp.particle.io")


@pytest.mark.parametrize("model", UDP_BOARDS)
def test_server_with_another_key_than_the_stored_one(model: str) -> None:
    with Bench(model) as bench:
        bench.facts.server_der = keys.public_der(keys.generate_server_ec())
        assert bench.facts.server_der != keys.public_der(server_ec())
        bench.boot()
        bench.udp.serve_until(lambda: any("signature" in line for line in bench.facts.lines))
        assert not bench.client.connected


def test_tcp_server_that_hangs_up_or_does_not_accept() -> None:
    with Bench("photon") as bench:
        bench.boot()
        bench.tcp.accepting = False
        with pytest.raises(AssertionError, match="refused"):
            bench.tcp.accept()
        bench.tcp.hang_up()
        bench.facts.wait_log("the server closed the connection")
        bench.tcp.accepting = True
        bench.introduced()
        bench.tcp.hang_up()
        said = bench.introduced(first=False)
        assert messages.classify(said[0]) is Kind.HELLO


def test_tcp_server_with_another_key_than_the_stored_one() -> None:
    with Bench("photon") as bench:
        bench.facts.server_der = keys.public_der(keys.generate_server_rsa())
        assert bench.facts.server_der != keys.public_der(server_rsa())
        bench.boot()
        with pytest.raises(AssertionError, match="refused"):
            bench.tcp.accept()
        bench.tcp.hang_up()
        bench.facts.wait_log("the server closed the connection")


def test_photon_with_a_key_that_its_parser_misreads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hil.virtual.cloudclient.link.rsa_key_suits_board", lambda _key: False)
    with Bench("photon") as bench:
        bench.boot()
        bench.facts.wait_log("the board cannot read its device key")
        assert bench.network.sockets == []


def test_tcp_board_leaves_a_server_that_says_no_hello() -> None:
    with Bench("photon", timing=Timing(server_hello=0.01, back_off=0.005)) as bench:
        bench.boot()
        assert messages.classify(bench.server.receive()) is Kind.HELLO
        bench.facts.wait_log("no Hello from the server")
        bench.tcp.accept()
        assert messages.classify(bench.server.receive()) is Kind.HELLO


@pytest.mark.parametrize("model", BOARDS)
def test_link_that_breaks_under_a_publish_or_subscribe_is_noticed(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_plaintext: bytes) -> NoReturn:
        raise LinkDown("cable cut")

    with Bench(model) as bench:
        bench.online()
        session = bench.client._session
        assert session is not None
        monkeypatch.setattr(session.link, "send", broken)
        publication = bench.client.publish("x", b"", ttl=60, ack=AckMode.DEFAULT)
        bench.facts.wait_log("cable cut")
        again = bench.server.receive() if not bench.profile.tcp else bench.tcp.accept()
        assert again
        assert publication.state is PublishState.FAILED


@pytest.mark.parametrize("model", BOARDS)
def test_what_breaks_inside_is_said_and_survived(
    model: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> NoReturn:
        raise ValueError("no modules")

    with Bench(model) as bench:
        monkeypatch.setattr(bench.facts, "system_describe", broken)
        bench.boot()
        bench.server.answer(bench.server.receive())
        bench.facts.wait_log("internal error: ValueError('no modules')")
        assert "broke" in caplog.text
        monkeypatch.undo()
        if bench.profile.tcp:
            bench.tcp.accept()
        bench.server.until_kind(Kind.SUBSCRIBE)


def test_one_thread_for_each_board() -> None:
    with Bench("argon") as bench:
        before = threading.active_count()
        bench.online()
        assert threading.active_count() == before + 2  # application and cloud client
