"""The first words of each board on a new session, byte by byte: protocol fact sheet 3.1, 3.3, 3.5, 11.1, 11.2."""

from __future__ import annotations

import threading

import pytest

from hil.wire import messages
from hil.wire.coap import message as coap
from hil.wire.coap.message import Block, Message, Option, Type
from hil.wire.messages import Kind
from tests.virtual.cloudbench import BOARDS, INTRODUCTION, UDP_BOARDS, Bench, BenchApp
from tests.virtual.scripted_server import WITHIN

HELLO = {  # message id 1, fact sheet 11.1
    "photon": "50020001b168ff0006ffff00360006",
    "boron": "40020001b168ff000dffff0076000d000ce00fce68aabbccddeeff0011",
    "electron": "40020001b168ff000affff0036000a000c3d00340007473433373737380ce603c0000200000200",
    "argon": "40020001b168ff000cffff00f6000c000ce00fce68aabbccddeeff001118380480001770000200",
}
APPLICATION = b'{"f":["led","broken","huge"],"v":{"flag":1,"count":2,"ratio":9,"text":4,"none":4,"long":4}}'


def event(first: int, mid: int, name: str, data: str) -> str:
    payload = f"ff{data.encode().hex()}" if data else ""
    return f"{first:02x}02{mid:04x}b1450d{len(name) - 13:02x}{name.encode().hex()}{payload}"


def subscription(mid: int, prefix: str, tail: str) -> str:
    return f"4001{mid:04x}b165{len(prefix):02x}{prefix.encode().hex()}{tail}"


def expected(bench: Bench, first_mid: int, raw: list[bytes]) -> list[str]:
    """What fact sheet 11.2 says, with the random start of the tokens taken from ``raw``."""
    board = bench.board
    mids = iter(range(first_mid, first_mid + 100))
    kind = 0x50 if bench.profile.tcp else 0x40
    tail = "" if board == "argon" else "4175"
    describe = bench.facts.system_describe()
    tokens = iter(raw_tokens(raw))
    if board == "argon":
        system = f"4102{next(mids) + 1:04x}{next(tokens)}b164112a3101ff{describe.to_protobuf().hex()}"
    elif board == "electron":
        system = f"4102{next(mids) + 1:04x}{next(tokens)}b1644101ff{describe.to_json().hex()}"
    else:
        system = f"4002{next(mids) + 1:04x}b1644101ff{describe.to_json().hex()}"
    next(mids)
    hello = HELLO[board]
    lines = [f"{hello[:4]}{first_mid:04x}{hello[8:]}", system]
    if board == "argon":
        lines.append(f"4101{next(mids):04x}{next(tokens)}b174")
    if board in ("photon", "boron"):
        size = "262144" if board == "photon" else "1536000"
        lines.append(event(kind, next(mids), "spark/hardware/max_binary", size))
    if board == "photon":
        lines.append(event(kind, next(mids), "spark/hardware/ota_chunk_size", "512"))
    lines.append(event(kind, next(mids), "spark/device/last_reset", "power_down"))
    lines.append(event(kind, next(mids), "particle/device/updates/enabled", "true"))
    lines.append(event(kind, next(mids), "particle/device/updates/forced", "false"))
    if board != "argon":
        lines.append(f"4101{next(mids):04x}{next(tokens)}b174")
    if board in ("photon", "boron"):
        lines.append(f"4002{next(mids):04x}b1644102ff{APPLICATION.hex()}")
    else:
        lines.append(f"4102{next(mids):04x}{next(tokens)}b1644102ff{APPLICATION.hex()}")
    return lines + [subscription(next(mids), name, tail) for name in ("particle", "spark", "motion/open")]


def raw_tokens(raw: list[bytes]) -> list[str]:
    """Each token is one more than the one before."""
    first = next(message[4] for message in raw if message[0] & 0x0F == 1)
    return [f"{(first + number) & 0xFF:02x}" for number in range(8)]


@pytest.mark.parametrize("model", BOARDS)
def test_introduction_is_that_of_the_board(model: str) -> None:
    with Bench(model) as bench:
        bench.boot()
        first_mid = 1
        if bench.profile.tcp:
            salt = bench.tcp.accept().salt
            first_mid = int.from_bytes(salt[:2], "little") + 1 & 0xFFFF
        bench.introduced()
        raw = bench.server.raw
        assert [data.hex() for data in raw] == expected(bench, first_mid, raw)
        bench.server.assert_silent()
        bench.facts.wait_log("time set to 1700000000")


def test_photon_ids_follow_the_salt_and_its_events_are_not_confirmable() -> None:
    with Bench("photon") as bench:
        bench.boot()
        session = bench.tcp.accept()
        said = bench.introduced()
        first = (int.from_bytes(session.salt[:2], "little") + 1) & 0xFFFF
        assert [message.mid for message in said] == [(first + n) & 0xFFFF for n in range(len(said))]
        events = [message for message in said if messages.classify(message) is Kind.EVENT]
        assert {message.type for message in events} == {Type.NON}
        assert session.device_id == bench.facts.device_id


@pytest.mark.parametrize("model", BOARDS)
def test_claim_code_and_safe_mode_take_their_places(model: str) -> None:
    with Bench(model) as bench:
        bench.facts.claim, bench.facts.safe_mode, bench.factory = "abc", True, None
        bench.boot()
        said = bench.server.take(INTRODUCTION[model] + 1)
        names = ["/".join(message.path) for message in said]
        assert names[2] == "E/spark/device/claim/code"
        assert said[2].payload == b"abc"
        place = names.index("E/spark/device/safemode")
        assert names[place + 1] == "E/spark/device/last_reset"
        assert names[place - 1] == {"argon": "t", "electron": "E/spark/device/claim/code"}.get(
            model, "E/spark/hardware/" + ("ota_chunk_size" if model == "photon" else "max_binary")
        )
        application = next(
            message for message in said if message.path == ("d",) and message.option(15) == b"\x02"
        )
        assert application.payload == b'{"f":[],"v":{}}'
        assert names[-2:] == ["e/particle", "e/spark"]


@pytest.mark.parametrize("model", UDP_BOARDS)
def test_only_the_hello_waits_and_until_its_ack_the_board_hears_nothing_else(model: str) -> None:
    with Bench(model) as bench:
        bench.boot()
        hello = bench.server.receive()
        bench.server.send(coap.ping(0x7000))
        bench.server.send(messages.function_call(0x7001, b"x", "led", b"early"))
        bench.server.send(coap.empty_ack(hello.mid))
        # Straight behind the ACK: the board listens from the ACK on, not from its next step on.
        bench.server.send(coap.ping(0x7002))
        silent = [bench.server.receive() for _ in range(INTRODUCTION[model])]  # nothing acknowledged
        acks = [message for message in silent if message.type is Type.ACK]
        assert [message.mid for message in acks] == [0x7002]
        assert not bench.client.connected
        for message in silent:
            bench.server.answer(message)
        bench.facts.wait_log("cloud connected")
        assert bench.application.calls == []


def test_online_only_when_the_last_message_is_acknowledged() -> None:
    with Bench("argon") as bench:
        bench.boot()
        said = bench.server.take(INTRODUCTION["argon"] - 1)
        last = bench.server.receive()
        bench.server.assert_silent()  # the board has processed every ACK by now
        assert not bench.client.connected
        bench.server.send(coap.empty_ack(last.mid))
        bench.facts.wait_log("cloud connected")
        assert bench.client.state == 2
        assert messages.parse_subscription(last).prefix == "motion/open"
        assert len({message.mid for message in [*said, last]}) == INTRODUCTION["argon"]


@pytest.mark.parametrize("model", BOARDS)
def test_update_flag_is_said_until_the_server_says_hello(model: str) -> None:
    with Bench(model) as bench:
        bench.facts.ota_succeeded = True
        flags = bytes.fromhex(HELLO[model])[7 + 4 : 7 + 6]
        said = bench.online()
        assert said[0].payload[4:6] == bytes([flags[0], flags[1] | 1])
        if not bench.profile.tcp:
            bench.server.send(messages.server_hello(0x7000))
            bench.server.assert_silent()
            bench.udp.close_notify()
        else:
            bench.tcp.hang_up()
        again = bench.introduced(first=False)
        assert again[0].payload[4:6] == flags


@pytest.mark.parametrize("model", BOARDS)
def test_application_is_announced_when_setup_is_done_be_it_late(model: str) -> None:
    gate = threading.Event()

    class Late(BenchApp):
        def setup(self) -> None:
            assert gate.wait(WITHIN)
            super().setup()

    with Bench(model) as bench:
        bench.factory = Late
        bench.boot(wait_for_setup=False)
        said = bench.server.take(INTRODUCTION[model] - 4)
        bench.facts.wait_log("cloud connected")
        bench.server.assert_silent()
        assert messages.classify(said[-1]) is not Kind.SUBSCRIBE
        gate.set()
        late = bench.server.take(4)
        assert late[0].payload == APPLICATION
        assert [messages.parse_subscription(message).prefix for message in late[1:]] == [
            "particle",
            "spark",
            "motion/open",
        ]
        bench.server.assert_silent()


@pytest.mark.parametrize("model", ["electron", "argon"])
def test_long_describe_goes_in_blocks_one_after_the_other(model: str) -> None:
    class Large(BenchApp):
        def setup(self) -> None:
            for number in range(40):
                self.os.function(f"function_{number:02}_{'x' * 50}", lambda _argument: 0)

    size = {"electron": 512, "argon": 1024}[model]
    with Bench(model) as bench:
        bench.factory = Large
        bench.boot()
        payload = bench.app.describe().to_json()
        count = -(-len(payload) // size)
        assert count > 2

        def is_block(message: Message) -> bool:
            return message.option(Option.BLOCK1) is not None

        received, tokens = b"", set()
        for number in range(count):
            message = bench.server.until(is_block)
            assert messages.parse_describe_post(message).block1 == Block(
                number, number < count - 1, {512: 5, 1024: 6}[size]
            )
            received += message.payload
            tokens.add(message.token)
            bench.server.assert_silent()  # the next block waits for the ACK of this one
            bench.server.answer(message)
        assert received == payload
        assert len(tokens) == count
        assert messages.classify(bench.server.receive()) is Kind.SUBSCRIBE
