"""The probe and the blinker against firmware/probe/CONTRACT.md: every command, every error, both carriers."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.blinker.twin import App as Blinker
from firmware.probe.twin import App as Probe
from hil.device.platforms import by_name
from hil.virtual.app.apps import ApplicationHost, ApplicationImage
from hil.virtual.app.wiring import AckMode, Application, Publication, PublishState
from hil.wire import messages
from hil.wire.messages import VariableType
from tests.virtual.cloudbench import BOARDS, Bench, FakeFacts

BUILD = "0123456789abcdef"
BAD, OFFLINE, FULL, UNKNOWN = -270, -210, -200, -120


class FakeCloud:
    """A cloud client that takes everything."""

    def __init__(self) -> None:
        self.connected = True
        self.asked: list[tuple[str, bytes, int, AckMode] | str] = []
        self.publications: list[Publication] = []

    def connect(self) -> None:
        self.asked.append("connect")

    def disconnect(self) -> None:
        self.asked.append("disconnect")

    def publish(self, name: str, data: bytes, *, ttl: int, ack: AckMode) -> Publication:
        self.asked.append((name, data, ttl, ack))
        self.publications.append(Publication())
        return self.publications[-1]

    def subscribed(self, _subscription: object) -> None: ...

    def unsubscribed(self) -> None: ...

    def application_ready(self) -> None: ...


class Board:
    """A probe (or another application) with its wiring, called on the test's own thread."""

    def __init__(self, factory: Callable[[ApplicationHost], Application] = Probe) -> None:
        self.facts = FakeFacts(by_name("argon"), "6.2.0", bytes(12), None, None, None)
        self.cloud = FakeCloud()
        self.os = ApplicationHost(self.facts, None, ApplicationImage("probe", 1, BUILD))
        self.os.bind_cloud(self.cloud)
        self.app = factory(self.os)
        self.app.setup()

    def command(self, c: str, **members: Any) -> Any:
        """The reply object of a command, or its error code."""
        code, reply = self.app.control_request(json.dumps({"c": c, **members}).encode())
        assert (code == 0) is (reply != b"")
        return code or json.loads(reply)

    def call(self, name: str, argument: str = "") -> int:
        return self.os.functions[name](argument)

    def value(self, name: str) -> object:
        return self.os.variables[name].read()


def test_at_start() -> None:
    board = Board()
    assert board.os.describe().functions == ("probe_echo", "probe_answer")
    assert board.os.describe().variables == {
        "probe_bool": VariableType.BOOL,
        "probe_int": VariableType.INT,
        "probe_double": VariableType.DOUBLE,
        "probe_string": VariableType.STRING,
    }
    assert [board.value(f"probe_{kind}") for kind in ("bool", "int", "double", "string")] == [
        False,
        0,
        0.0,
        "",
    ]
    assert board.call("probe_answer") == 42
    assert board.call("probe_echo", "grüße") == 7


def test_6_17_whoever_opens_the_port_gets_the_boot_line(monkeypatch: pytest.MonkeyPatch) -> None:
    board, now = Board(), count(1000, 30)  # ms
    monkeypatch.setattr(type(board.os), "millis", lambda _: next(now))
    board.cloud.connected = False
    board.app.loop()
    assert board.facts.serial == b"", "nobody reads"
    for _ in range(2):
        board.facts.serial_is_open = True
        while b"boot" not in board.facts.serial:
            board.app.loop()
        assert board.facts.serial == b"probe: version 1 build 0123456789abcdef boot 1\r\n"
        board.facts.serial, board.facts.serial_is_open = b"", False
        board.app.loop()


def test_6_17_the_probe_tells_what_happens() -> None:
    board = Board()
    board.cloud.connected = True
    board.app.loop()
    board.command("subscribe", n="garden/")
    board.command("publish", n="x\x1b[2J" + "y" * 80, d="secret")
    board.command("received")
    board.command("function", n="")
    assert isinstance(board.app, Probe)
    board.app._received("garden/x", b"12345")
    board.call("probe_echo", "grüße")
    board.cloud.connected = False
    board.app.loop()
    board.app.control_request(b'{"c":"publish","n":"\\ud800"}')
    assert board.facts.serial.decode().split("\r\n") == [
        "probe: online",
        "probe: subscribe garden/",
        f"probe: publish x?[2J{'y' * 59}",
        "probe: function : error -270",
        "probe: event garden/x, 5 bytes",
        "probe: call probe_echo, 7 bytes: 7",
        "probe: offline",
        "probe: publish ?: error -270",
        "",
    ]


def test_info_and_cloud() -> None:
    board = Board()
    board.facts.backup["boots"] = b"3"
    info = board.command("info")
    assert info.pop("uptime") >= 0
    assert info == {"app": "probe", "version": 1, "build": BUILD, "os": "6.2.0", "boots": 3}
    assert board.command("cloud") == {"connected": True}
    board.cloud.connected = False
    assert board.command("cloud") == {"connected": False}


def test_connect_and_disconnect() -> None:
    board = Board()
    assert board.command("connect") == {}
    assert board.command("disconnect") == {}
    assert board.cloud.asked == ["connect", "disconnect"]


def test_publish_and_what_became_of_it() -> None:
    board = Board()
    assert board.command("publish", n="a", d="1") == {"id": 1}
    assert board.command("publish", n="b", f="ack", ttl=5) == {"id": 2}
    assert board.command("publish", n="c", d="ü", f="noack") == {"id": 3}
    assert board.cloud.asked == [
        ("a", b"1", 60, AckMode.DEFAULT),
        ("b", b"", 5, AckMode.WITH_ACK),
        ("c", "ü".encode(), 60, AckMode.NO_ACK),
    ]
    for state in PublishState:
        board.cloud.publications[1].state = state
        assert board.command("published", id=2) == {"state": str(state)}
    assert board.command("published", id=1) == {"state": "pending"}
    wrong = (0, 4, -1, None, "x", "2x", 2.0, True)
    assert [board.command("published", id=number) for number in wrong] == [BAD] * len(wrong)


def test_publish_errors() -> None:
    board = Board()
    assert board.command("publish") == BAD
    assert board.command("publish", n=5) == BAD
    assert board.command("publish", n="a", f="loud") == BAD
    assert board.command("publish", n="") == BAD
    assert [board.command("publish", n="a", ttl=ttl) for ttl in ("soon", -1, 16777216)] == [BAD] * 3
    board.cloud.connected = False
    assert board.command("publish", n="a") == OFFLINE
    assert board.command("publish") == BAD
    assert board.cloud.asked == []


def test_subscribe_receive_unsubscribe() -> None:
    board = Board()
    assert board.command("subscribe") == BAD
    assert [board.command("subscribe", n=name) for name in ("", "n" * 65, 5)] == [BAD] * 3
    for number in range(4):
        assert board.command("subscribe", n=f"p{number}") == {"id": 1}
    assert board.command("subscribe", n="p4") == FULL
    handler = board.os.registered_subscriptions()[0].handler
    assert board.command("received") == {"events": [], "next": 0}
    for number in range(10):
        handler("p0/x", str(number).encode())
    first = board.command("received")
    assert first == {"events": [{"n": "p0/x", "d": str(number)} for number in range(8)], "next": 8}
    assert board.command("received", **{"from": 8})["events"] == [
        {"n": "p0/x", "d": "8"},
        {"n": "p0/x", "d": "9"},
    ]
    assert board.command("received", **{"from": 10}) == {"events": [], "next": 10}
    assert board.command("received", **{"from": -1}) == BAD
    assert board.command("received", **{"from": "a"}) == BAD
    assert board.command("unsubscribe") == {}
    assert board.os.registered_subscriptions() == []
    assert board.command("subscribe", n="p4") == {"id": 1}


def test_functions_and_calls() -> None:
    board = Board()
    assert board.command("function", n="f", r=-5) == {}
    assert board.call("f", "argument") == -5
    assert board.command("function", n="f", r="length") == {}
    assert board.call("f", "ü") == 2
    assert board.command("function", n="probe_answer", r=7) == {}
    assert board.call("probe_answer") == 7
    assert board.command("calls") == {
        "calls": [{"n": "f", "a": "argument"}, {"n": "f", "a": "ü"}, {"n": "probe_answer", "a": ""}],
        "next": 3,
    }
    assert board.command("calls", **{"from": 2})["next"] == 3
    assert board.command("function", n="n" * 64, r=1) == {}
    for members in (
        {},
        {"n": "g"},
        {"r": 1},
        {"n": "", "r": 1},
        {"n": "n" * 65, "r": 1},
        {"n": "g", "r": "x"},
    ):
        assert board.command("function", **members) == BAD
    assert board.command("function", n="g", r=1 << 31) == BAD
    assert "g" not in board.os.functions


@pytest.mark.parametrize(
    ("kind", "given_value", "read"),
    [
        ("bool", True, True),
        ("bool", "false", False),
        ("bool", 1, True),
        ("int", -7, -7),
        ("int", "12", 12),
        ("double", 1.5, 1.5),
        ("double", "0.25", 0.25),
        ("string", "grüße", "grüße"),
    ],
)
def test_variables(kind: str, given_value: object, read: object) -> None:
    board = Board()
    assert board.command("variable", n=f"probe_{kind}", t=kind, v=given_value) == {}
    assert board.value(f"probe_{kind}") == read
    assert board.command("variable", n="mine", t=kind, v=given_value) == {}
    assert board.value("mine") == read


def test_variable_errors_change_nothing() -> None:
    board = Board()
    board.command("variable", n="probe_int", t="int", v=1)
    wrong: list[dict[str, object]] = [
        {},
        {"n": "x", "t": "int"},
        {"n": "x", "v": 1},
        {"n": "", "t": "int", "v": 1},
        {"n": "n" * 65, "t": "int", "v": 1},
        {"n": "x", "t": "float", "v": 1},
        {"n": "x", "t": "int", "v": "one"},
        {"n": "x", "t": "int", "v": 1 << 40},
        {"n": "x", "t": "bool", "v": "perhaps"},
        {"n": "x", "t": "bool", "v": 2},
        {"n": "x", "t": "string", "v": None},
        {"n": "x", "t": ["int"], "v": 1},
        {"n": "probe_int", "t": "string", "v": "1"},
    ]
    assert [board.command("variable", **members) for members in wrong] == [BAD] * len(wrong)
    assert board.value("probe_int") == 1
    assert len(board.os.variables) == 4


def test_reset_safemode_sleep() -> None:
    board = Board()
    assert board.command("reset") == {}
    assert board.command("safemode") == {}
    assert board.facts.resets == [("user", "normal"), ("safe_mode", "safe")]
    assert board.command("sleep", s=3) == {}
    assert board.facts.sleeps == [3.0]
    assert [board.command("sleep", **m) for m in ({}, {"s": 0}, {"s": "long"}, {"s": "inf"}, {"s": -1})] == [
        BAD
    ] * 5


@pytest.mark.parametrize("command", ["", "nothing", "_execute", "page", "__init__", "Info"])
def test_unknown_commands(command: str) -> None:
    assert Board().command(command) == UNKNOWN


@pytest.mark.parametrize("payload", [b"", b"{", b"[]", b"7", b"\xff\xfe", b'"info"', b"[" * 100_000])
def test_not_a_command(payload: bytes) -> None:
    assert Board().app.control_request(payload) == (BAD, b"")


def test_serial_carrier() -> None:
    board = Board()
    board.facts.serial = b""
    board.app.serial_received(b'noise\n>{"c":"clo')
    assert board.facts.serial == b""
    board.app.serial_received(b'ud"}\n>{"c":"nothing"}\r\n>oops\n>')
    assert board.facts.serial == b'<{"_":0,"connected":true}\n<{"_":-120}\n<{"_":-270}\n'
    board.app.serial_received(b'{"c":"disconnect"}\n')
    assert board.facts.serial.endswith(b'\n<{"_":0}\n')
    board.facts.serial = b""
    board.app.serial_received(b'>{"c":"cloud","x":"' + b"x" * 4096 + b'"}\n')
    assert board.facts.serial == b""


@given(st.binary(max_size=200))
def test_serial_never_breaks(data: bytes) -> None:
    board = Board()
    board.app.serial_received(data + b"\n")
    board.facts.serial = b""
    board.app.serial_received(b'>{"c":"cloud"}\n')
    assert board.facts.serial == b'<{"_":0,"connected":true}\n'


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
_NAMES = "info cloud publish published subscribe received function calls variable sleep unsubscribe"
_COMMANDS = st.sampled_from(_NAMES.split(" "))


@given(
    st.dictionaries(st.sampled_from(["n", "d", "f", "ttl", "id", "from", "r", "t", "v", "s"]), _JSON),
    _COMMANDS,
)
def test_any_members_give_a_reply_or_a_code_of_the_contract(members: dict[str, Any], command: str) -> None:
    code, reply = Board().app.control_request(json.dumps({"c": command, **members}).encode())
    assert code in (0, BAD, FULL)
    assert (code == 0) is (reply != b"")


@pytest.mark.parametrize("model", BOARDS)
def test_through_the_cloud(model: str) -> None:
    with Bench(model) as bench:
        bench.factory = Probe
        bench.boot()
        bench.server.until(lambda message: message.path == ("e", "spark"))
        bench.server.send(messages.function_call(0x7000, b"x", "probe_echo", "grüße".encode()))
        result = bench.server.until(lambda message: message.token == b"x")
        assert messages.decode_function_result(result) == 7
        code, reply = bench.app.control_request(b'{"c":"calls"}').result(10)
        assert (code, json.loads(reply)["calls"]) == (0, [{"n": "probe_echo", "a": "grüße"}])
        bench.app.control_request(b'{"c":"variable","n":"probe_int","t":"int","v":-3}').result(10)
        bench.server.send(messages.variable_request(0x7001, b"y", "probe_int"))
        value = bench.server.until(lambda message: message.token == b"y")
        assert messages.decode_variable(VariableType.INT, value.payload) == -3


def test_blinker() -> None:
    board = Board(Blinker)
    assert board.facts.serial == b"blinker: version 1 build 0123456789abcdef\r\n"
    assert [board.call("blink", argument) for argument in ("", "3", "x", "-1", "²")] == [0, 3, -1, -1, -1]
    info = board.command("info")
    assert (info["app"], info["version"], info["build"]) == ("blinker", 1, BUILD)
    assert board.command("publish", n="x") == UNKNOWN
