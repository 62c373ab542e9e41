"""Sessions that are taken up again, or not: protocol fact sheet 2.5, 2.7, 7."""

from __future__ import annotations

import pytest

from hil.device import keys
from hil.device.keys import ServerAddress
from hil.device.platforms import by_name
from hil.virtual.app.wiring import AckMode
from hil.virtual.hardware.profile import Profile
from hil.wire import dtls, messages
from hil.wire.coap import message as coap
from hil.wire.coap.message import Code, Message, Type
from hil.wire.messages import DescribeFlag, Kind
from tests.virtual.cloudbench import INTRODUCTION, UDP_BOARDS, Bench, BenchApp
from tests.virtual.scripted_server import CID

FORMS = {"boron": dtls.Form.DEVICE_ID, "electron": dtls.Form.CID, "argon": dtls.Form.MOVE}
PLAIN = {"boron": 23, "electron": 25, "argon": 25}
ALWAYS = ["E/particle/device/updates/enabled", "E/particle/device/updates/forced"]


def names(said: list[Message]) -> list[str]:
    return ["ping" if message.is_empty else "/".join(message.path) for message in said]


def resume_words(model: str) -> list[str]:
    """What a board says on a quiet resume after a reset."""
    return ["ping", *(["E/spark/device/last_reset"] if model == "argon" else []), *ALWAYS]


@pytest.mark.parametrize("model", UDP_BOARDS)
def test_after_a_reset_the_session_goes_on_with_a_ping(model: str) -> None:
    with Bench(model) as bench:
        last = bench.online()[-1].mid
        bench.reset()
        sent_before = len(bench.udp.datagrams)
        bench.boot()
        said = [bench.server.receive() for _ in resume_words(model)]
        assert names(said) == resume_words(model)
        assert bench.server.raw[-len(said)] == bytes.fromhex(f"4000{last + 1:04x}")
        assert [message.mid for message in said] == list(range(last + 1, last + 1 + len(said)))
        assert {message.type for message in said} == {Type.CON}
        marked = bench.udp.datagrams[sent_before:]
        assert {dtls.classify(datagram).form for datagram in marked} == {FORMS[model]}
        assert_form(model, marked[0], bench.facts.device_id)
        assert bench.udp.handshakes == 1
        for message in said:
            bench.server.answer(message)
        bench.facts.wait_log("cloud connected", 2)
        bench.server.assert_silent()
        assert bench.udp.datagrams[-1][0] == PLAIN[model]  # the board heard something: no mark any more


def assert_form(model: str, datagram: bytes, device_id: bytes) -> None:
    if model == "boron":
        assert datagram[0] == 254
        assert datagram[-13:] == device_id + b"\x0c"
        assert len(datagram) == 46
    else:
        assert datagram[0] == {"electron": 25, "argon": 253}[model]
        assert datagram[11:19] == CID
        assert len(datagram) == 53


@pytest.mark.parametrize("model", UDP_BOARDS)
def test_offline_and_online_again_within_one_start_tells_no_last_reset(model: str) -> None:
    with Bench(model) as bench:
        bench.online()
        bench.client.disconnect()
        goodbye = bench.server.until_kind(Kind.GOODBYE)
        bench.server.answer(goodbye)
        bench.client.connect()
        said = bench.server.take(3)
        assert names(said) == ["ping", *ALWAYS]
        bench.facts.wait_log("cloud connected", 2)
        bench.server.assert_silent()


@pytest.mark.parametrize("model", UDP_BOARDS)
def test_only_the_changed_part_is_told_again(model: str) -> None:
    class MoreFunctions(BenchApp):
        def setup(self) -> None:
            super().setup()
            self.os.function("more", lambda _argument: 0)

    class MoreSubscriptions(MoreFunctions):
        def setup(self) -> None:
            super().setup()
            self.os.subscribe("weather", self.received)

    with Bench(model) as bench:
        bench.online()
        quiet = resume_words(model)
        bench.reset()
        bench.factory = MoreFunctions
        bench.boot()
        said = bench.server.take(len(quiet) + 1)
        assert names(said) == [*quiet, "d"]
        assert messages.parse_describe_post(said[-1]).flags is DescribeFlag.APPLICATION
        bench.facts.wait_log("cloud connected", 2)
        bench.server.assert_silent()
        bench.reset()
        bench.factory = MoreSubscriptions
        bench.boot()
        subscriptions = ["e/particle", "e/spark", "e/motion/open", "e/weather"]
        assert names(bench.server.take(len(quiet) + 4)) == quiet + subscriptions
        bench.facts.wait_log("cloud connected", 3)
        bench.server.assert_silent()
        assert bench.udp.handshakes == 1


@pytest.mark.parametrize("model", UDP_BOARDS)
def test_changed_modules_bring_the_hello_back_but_no_handshake(model: str) -> None:
    with Bench(model) as bench:
        bench.online()
        bench.reset()
        bench.facts.user_version += 1
        bench.boot()
        said = bench.introduced()
        assert messages.classify(said[0]) is Kind.HELLO
        assert messages.parse_describe_post(said[1]).flags is DescribeFlag.SYSTEM
        assert bench.udp.handshakes == 1


@pytest.mark.parametrize("model", UDP_BOARDS)
def test_after_an_update_the_hello_is_said_once_with_its_flag(model: str) -> None:
    with Bench(model) as bench:
        bench.online()
        bench.reset()
        bench.facts.ota_succeeded = True
        bench.boot()
        assert bench.introduced()[0].payload[5] & 1
        bench.client.drop()
        bench.facts.wait_log("cloud connected", 2)
        bench.client.connect()
        assert names(bench.server.take(3)) == ["ping", *ALWAYS]


def refusing(bench: Bench, refused: str) -> None:
    """Go through an introduction in which the server refuses messages on path ``refused``."""
    bench.boot()
    for _ in range(INTRODUCTION[bench.board]):
        message = bench.server.receive()
        if "/".join(message.path) == refused and message.option(15) != b"\x01":
            bench.server.send(Message(Type.ACK, Code.INTERNAL_SERVER_ERROR, message.mid))
        else:
            bench.server.answer(message)
    bench.facts.wait_log("cloud connected")


@pytest.mark.parametrize("model", UDP_BOARDS)
@pytest.mark.parametrize(("refused", "again"), [("d", 1), ("e/spark", 3)])
def test_what_the_server_refused_is_told_again(model: str, refused: str, again: int) -> None:
    with Bench(model) as bench:
        refusing(bench, refused)
        bench.reset()
        bench.boot()
        said = names(bench.server.take(len(resume_words(model)) + again))
        assert said[len(resume_words(model)) :] == (
            ["d"] if again == 1 else ["e/particle", "e/spark", "e/motion/open"]
        )
        bench.facts.wait_log("cloud connected", 2)
        bench.server.assert_silent()


@pytest.mark.parametrize("model", UDP_BOARDS)
@pytest.mark.parametrize("what", ["address", "device key", "power", "nonsense", "release"])
def test_without_a_usable_session_there_is_a_handshake_and_ids_start_anew(model: str, what: str) -> None:
    with Bench(model) as bench:
        bench.online()
        bench.reset()
        if what == "address":
            bench.facts.address = ServerAddress(bench.server.host, 1234)
        elif what == "device key":
            bench.facts.private_der = keys.private_der(keys.generate_device_key(by_name(model)))
        elif what == "power":
            bench.facts.backup.clear()
        elif what == "nonsense":
            bench.facts.backup["dtls_session"] = b"\x01nonsense"
        else:
            # From a release with Connection IDs to one without, or the other way round.
            bench.facts.device_os = "3.3.1" if model == "boron" else "2.3.1"
            bench.profile = Profile(bench.facts.platform, bench.facts.device_os)
        bench.boot()
        hello = bench.server.receive()
        assert messages.classify(hello) is Kind.HELLO
        assert hello.mid == 1
        assert bench.udp.handshakes == 2


@pytest.mark.parametrize("model", UDP_BOARDS)
def test_fourth_restore_in_vain_is_a_handshake(model: str) -> None:
    with Bench(model) as bench:
        bench.online()
        bench.reset()
        for _ in range(3):
            bench.boot()
            assert bench.server.receive().is_empty
            bench.reset()
            bench.udp.discard()
        bench.boot()
        bench.server.until_kind(Kind.HELLO)
        assert bench.udp.handshakes == 2


@pytest.mark.parametrize("model", UDP_BOARDS)
def test_an_answer_clears_the_count_of_restores(model: str) -> None:
    with Bench(model) as bench:
        bench.online()
        for _ in range(5):
            bench.reset()
            bench.boot()
            bench.server.take(len(resume_words(model)))
        assert bench.udp.handshakes == 1


@pytest.mark.parametrize("model", UDP_BOARDS)
@pytest.mark.parametrize("how", ["close_notify", "RST", "RST to an unknown id", "KeyChange"])
def test_the_server_can_erase_the_session(model: str, how: str) -> None:
    with Bench(model) as bench:
        last = bench.online()[-1].mid
        if how == "close_notify":
            bench.udp.close_notify()
        elif how == "KeyChange":
            change = messages.key_change(0x7000)
            bench.server.send(change)
            assert bench.server.receive() == coap.empty_ack(0x7000)
        else:
            bench.server.send(coap.reset(last if how == "RST" else 0x7777))
        hello = bench.server.receive()
        assert messages.classify(hello) is Kind.HELLO
        assert hello.mid == last + 1  # a handshake without a reset goes on counting
        assert bench.udp.handshakes == 2
        bench.server.answer(hello)
        assert names(bench.server.take(INTRODUCTION[model] - 2)).count("E/spark/device/last_reset") == 0


@pytest.mark.parametrize("model", UDP_BOARDS)
def test_a_server_that_is_not_there_costs_attempts_but_not_the_session(model: str) -> None:
    with Bench(model) as bench:
        bench.online()
        bench.network.broken = True
        bench.server.close()
        bench.client.publish("any", b"", ttl=60, ack=AckMode.DEFAULT)
        bench.facts.wait_log("error: Connection refused")
        # Attempts that do not get as far as a socket are no restores.
        bench.facts.wait_log("no socket: Network is down", 5)
        bench.udp.open()
        bench.network.broken = False
        said = bench.server.take(3)
        assert names(said) == ["ping", *ALWAYS]
        bench.facts.wait_log("cloud connected", 2)
        assert bench.udp.handshakes == 1


def test_refused_handshakes_are_tried_again() -> None:
    with Bench("argon") as bench:
        bench.server.close()
        bench.boot()
        bench.facts.wait_log("Connection refused", 3)
        bench.udp.open()
        bench.introduced()
        assert bench.client.connected


@pytest.mark.parametrize("model", UDP_BOARDS)
def test_datagrams_that_are_not_the_servers_are_ignored(model: str) -> None:
    with Bench(model) as bench:
        bench.online()
        assert bench.udp.session is not None
        record = bench.udp.session.seal(coap.encode(coap.ping(0x7000)))
        for datagram in (b"", b"\x00", b"garbage", record[:-1] + bytes([record[-1] ^ 1]), b"\xff" * 1400):
            bench.udp.send_raw(datagram)
        bench.udp.send_raw(record)
        assert bench.server.receive() == coap.empty_ack(0x7000)
        bench.udp.send_raw(record)  # replayed
        bench.server.assert_silent()
        assert bench.udp.handshakes == 1
