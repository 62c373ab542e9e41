"""How each board answers the cloud: protocol fact sheet 3.3, 3.6, 3.7, 3.8 and section 10 on TCP."""

from __future__ import annotations

import json
import struct

import pytest

from hil.wire import messages
from hil.wire.coap import message as coap
from hil.wire.coap.message import Block, Code, Message, Option, Type
from hil.wire.messages import DescribeFlag, Kind
from tests.virtual.cloudbench import BOARDS, UDP_BOARDS, Bench, BenchApp

VALUES = {
    "flag": b"\x01",
    "count": b"\xff\xff\xff\xfe",
    "ratio": struct.pack("<d", 0.5),
    "text": "grüße".encode(),
    "none": b"",
}


def result_type(bench: Bench) -> Type:
    return Type.NON if bench.profile.tcp else Type.CON


@pytest.mark.parametrize("model", BOARDS)
def test_function_is_acknowledged_then_answered(model: str) -> None:
    with Bench(model) as bench:
        bench.online()
        bench.server.send(messages.function_call(0x7000, b"\x65", "led", b"on"))
        assert bench.server.receive() == coap.empty_ack(0x7000)
        result = bench.server.receive()
        assert bench.server.raw[-1].hex() == (
            f"{'51' if bench.profile.tcp else '41'}44{result.mid:04x}65ff00000002"
        )
        bench.server.answer(result)
        bench.server.assert_silent()
        assert bench.application.calls == ["on"]


@pytest.mark.parametrize("model", BOARDS)
def test_argument_may_be_empty_or_as_long_as_the_limit(model: str) -> None:
    limit = {"photon": 622, "boron": 622, "electron": 864, "argon": 1024}[model]
    with Bench(model) as bench:
        bench.online()
        for length in (0, limit):
            bench.server.send(messages.function_call(bench.server.next_mid(), b"\x65", "led", b"x" * length))
            bench.server.receive()
            result = bench.server.receive()
            assert messages.decode_function_result(result) == length
            bench.server.answer(result)
        bench.server.send(messages.function_call(0x7001, b"\x66", "led", b"x" * (limit + 1)))
        bench.server.receive()
        assert bench.server.raw[-1].hex() == "60807001"
        bench.server.assert_silent()
        assert [len(call) for call in bench.application.calls] == [0, limit]


@pytest.mark.parametrize("model", BOARDS)
def test_unknown_and_broken_functions_get_an_ack_and_no_result(model: str) -> None:
    with Bench(model) as bench:
        bench.online()
        for name in ("nothing", "broken"):
            bench.server.send(messages.function_call(0x7000 + len(name), b"\x65", name, b""))
            assert bench.server.receive().is_empty
        bench.facts.wait_log("application error")
        # The application is alive, and what it returns is a C int.
        bench.server.send(messages.function_call(0x7100, b"\x66", "huge", b""))
        assert bench.server.receive() == coap.empty_ack(0x7100)
        assert messages.decode_function_result(bench.server.receive()) == -(1 << 31)


@pytest.mark.parametrize("model", BOARDS)
def test_variables_of_all_types(model: str) -> None:
    with Bench(model) as bench:
        bench.online()
        limit = bench.profile.max_data
        for name, value in {**VALUES, "long": b"x" * limit}.items():
            mid = bench.server.next_mid()
            bench.server.send(messages.variable_request(mid, b"\x66", name))
            assert bench.server.receive() == coap.empty_ack(mid)
            result = bench.server.receive()
            assert result == Message(result_type(bench), Code.CONTENT, result.mid, b"\x66", (), value), name
            bench.server.answer(result)


@pytest.mark.parametrize("model", BOARDS)
def test_unknown_variable_is_not_found_in_a_message_of_its_own(model: str) -> None:
    with Bench(model) as bench:
        bench.online()
        bench.server.send(messages.variable_request(0x7000, b"\x66", "nothing"))
        assert bench.server.receive() == coap.empty_ack(0x7000)
        reply = bench.server.receive()
        assert reply == Message(result_type(bench), Code.NOT_FOUND, reply.mid, b"\x66")


@pytest.mark.parametrize("model", BOARDS)
def test_ping_and_signal(model: str) -> None:
    with Bench(model) as bench:
        mid = bench.online()[-1].mid
        bench.server.send(coap.ping(0x7000))
        bench.server.receive()
        tcp = bench.profile.tcp
        # On TCP these two acknowledgements are numbered like any other message of the board.
        assert bench.server.raw[-1].hex() == f"6000{mid + 1 & 0xFFFF if tcp else 0x7000:04x}"
        for on in (True, False):
            mid = mid + 1 & 0xFFFF
            bench.server.send(messages.signal(0x7001 + on, b"\x67", on))
            bench.server.receive()
            expected = mid + 1 & 0xFFFF if tcp else 0x7001 + on
            assert bench.server.raw[-1].hex() == f"6144{expected:04x}67"
            bench.facts.wait_log(f"signal {'on' if on else 'off'}")


@pytest.mark.parametrize("model", BOARDS)
@pytest.mark.parametrize("confirmable", [True, False])
def test_events_reach_matching_handlers(model: str, confirmable: bool) -> None:
    with Bench(model) as bench:
        bench.online()
        bench.server.send(messages.event(0x7000, "motion/opened", b"7", confirmable=confirmable))
        bench.server.send(messages.event(0x7001, "motion/closed", b"8", confirmable=False))
        if confirmable and not bench.profile.tcp:
            assert bench.server.receive() == coap.empty_ack(0x7000)
        bench.server.assert_silent()
        assert bench.application.wait_events(1) == [("motion/opened", b"7")]


@pytest.mark.parametrize(
    ("model", "heard"), [("argon", [b"text", b"json"]), ("electron", [b"text", b"cbor", b"json"])]
)
def test_from_6_2_on_a_plain_handler_hears_text_only(model: str, heard: list[bytes]) -> None:
    with Bench(model) as bench:
        bench.online()
        for mid, (data, kind) in enumerate([(b"text", None), (b"cbor", 60), (b"json", 50)]):
            bench.server.send(
                messages.event(0x7000 + mid, "motion/open", data, confirmable=False, content_format=kind)
            )
        bench.server.assert_silent()
        assert [data for _, data in bench.application.wait_events(len(heard))] == heard


@pytest.mark.parametrize("model", BOARDS)
@pytest.mark.parametrize(("data", "echo"), [(b"true", b"true"), (b"", b"true"), (b"false", b"false")])
def test_forced_updates_are_echoed(model: str, data: bytes, echo: bytes) -> None:
    name = "particle/device/updates/forced"
    with Bench(model) as bench:
        bench.online()
        bench.server.send(messages.event(0x7000, name, data, confirmable=True))
        echoed = bench.server.until_kind(Kind.EVENT)
        assert (messages.parse_event(echoed).name, echoed.payload) == (name, echo)


@pytest.mark.parametrize("model", BOARDS)
def test_the_claim_code_is_cleared_once_the_cloud_took_it(model: str) -> None:
    with Bench(model) as bench:
        bench.online()
        bench.facts.claim = "abc"
        bench.server.send(messages.event(0x7000, "spark/device/claim/code", b"", confirmable=True))
        bench.facts.wait_log("took the claim code")
        bench.server.send(messages.function_call(0x7001, b"\x65", "led", b"on"))
        bench.server.until(lambda message: message.token == b"\x65")
        assert bench.facts.claim is None


@pytest.mark.parametrize("model", BOARDS)
@pytest.mark.parametrize(
    ("data", "reset"),
    [("safe mode", ("safe_mode", "safe")), ("dfu", ("dfu_mode", "dfu")), ("reboot", ("user", "normal"))],
)
def test_reset_events(model: str, data: str, reset: tuple[str, str]) -> None:
    with Bench(model) as bench:
        bench.online()
        bench.server.send(messages.event(0x7000, "spark/device/reset", data.encode(), confirmable=True))
        assert bench.facts.wait_reset() == reset


@pytest.mark.parametrize("model", UDP_BOARDS)
def test_network_reset_reconnects_with_the_session(model: str) -> None:
    with Bench(model) as bench:
        bench.online()
        bench.server.send(messages.event(0x7000, "spark/device/reset", b"network", confirmable=True))
        assert bench.server.receive() == coap.empty_ack(0x7000)
        assert bench.server.receive().is_empty
        assert bench.udp.handshakes == 1


@pytest.mark.parametrize("model", BOARDS)
def test_describe_on_request(model: str) -> None:
    with Bench(model) as bench:
        bench.online()
        system = bench.facts.system_describe()
        protobuf = model == "argon"
        wanted = {
            DescribeFlag.SYSTEM: system.to_protobuf() if protobuf else system.to_json(),
            DescribeFlag.APPLICATION: bench.app.describe().to_json(),
        }
        for flag, payload in wanted.items():
            mid = bench.server.next_mid()
            bench.server.send(messages.describe_request(mid, b"\x64", flag))
            assert bench.server.receive() == coap.empty_ack(mid)
            reply = bench.server.receive()
            assert (reply.type, reply.code, reply.token) == (Type.CON, Code.CONTENT, b"\x64")  # TCP as well
            assert reply.payload == payload
            content_format = 42 if protobuf and flag is DescribeFlag.SYSTEM else None
            assert reply.uint(Option.CONTENT_FORMAT) == content_format
            bench.server.answer(reply)


@pytest.mark.parametrize("model", BOARDS)
def test_both_describes_at_once(model: str) -> None:
    with Bench(model) as bench:
        bench.online()
        bench.server.send(messages.describe_request(0x7000, b"\x64", 3))
        assert bench.server.receive() == coap.empty_ack(0x7000)
        if model == "argon":
            assert bench.server.receive().is_empty  # the connection broke and comes back with a ping
            bench.facts.wait_log("internal error")
            return
        payload = bench.server.receive().payload
        if model == "electron":
            assert b'}]}]"f":[' in payload  # 3.3 to 5.4 forget the comma
            payload = payload.replace(b']"f"', b'],"f"')
            assert list(json.loads(payload))[-2:] == ["f", "v"]
        else:
            assert list(json.loads(payload))[:3] == ["f", "v", "p"]


@pytest.mark.parametrize("model", BOARDS)
def test_metrics_on_request(model: str) -> None:
    with Bench(model) as bench:
        bench.online()
        bench.server.send(messages.describe_request(0x7000, b"\x64", 4))
        bench.server.receive()
        vitals = messages.decode_vitals(bench.server.receive().payload)
        assert messages.VitalId.UPTIME in [vital.id for vital in vitals]


@pytest.mark.parametrize(("model", "size"), [("electron", 512), ("argon", 1024)])
def test_long_describe_on_request_comes_block_by_block(model: str, size: int) -> None:
    class Large(BenchApp):
        def setup(self) -> None:
            for number in range(40):
                self.os.function(f"function_{number:02}_{'x' * 50}", lambda _argument: 0)

    with Bench(model) as bench:
        bench.factory = Large
        bench.boot()
        bench.server.until(lambda message: messages.classify(message) is Kind.SUBSCRIBE)
        payload = bench.app.describe().to_json()
        received, etags = b"", set()
        for number in range(-(-len(payload) // size)):
            request = messages.describe_request(bench.server.next_mid(), b"\x64", 2)
            block = (int(Option.BLOCK2), Block(number, False, size.bit_length() - 5).encode())
            bench.server.send(
                Message(request.type, request.code, request.mid, request.token, (*request.options, block))
            )
            reply = bench.server.until(lambda message: message.code == Code.CONTENT)
            bench.server.answer(reply)
            received += reply.payload
            etags.add(reply.option(Option.ETAG))
            value = reply.option(Option.BLOCK2)
            assert value is not None
            assert Block.decode(value).more is (len(received) < len(payload))
        assert received == payload
        assert len(etags) == 1


@pytest.mark.parametrize("model", BOARDS)
def test_nonsense_does_no_harm(model: str) -> None:
    with Bench(model) as bench:
        bench.online()
        path = int(Option.URI_PATH)
        for message in (
            Message(Type.CON, Code.POST, 0x7000, b"", ((path, b"f"),)),
            Message(Type.CON, Code.POST, 0x7001, b"x", ((path, b"f"), (path, b"led"))),
            Message(Type.CON, Code.GET, 0x7002, b"x", ((path, b"v"), (path, b"\xff"))),
            Message(Type.CON, Code.PUT, 0x7003, b"x", ((path, b"s"),)),
            Message(Type.CON, Code.GET, 0x7004, b"x", ((path, b"?"),)),
            Message(Type.NON, Code.POST, 0x7005, b"", ((path, b"E"),)),
            Message(Type.ACK, Code.CONTENT, 0x7006, b"", (), b"bad"),
        ):
            bench.server.send(message)
        bench.server.assert_silent()
        assert bench.client.connected
