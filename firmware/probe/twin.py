"""The probe for virtual boards. CONTRACT.md in this folder binds it and the C++ application beside it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any

from hil.twin import (
    ERROR_INVALID_ARGUMENT,
    ERROR_INVALID_STATE,
    ERROR_LIMIT_EXCEEDED,
    ERROR_NOT_SUPPORTED,
    AckMode,
    Application,
    Publication,
    SystemMode,
    VariableType,
    VariableValue,
    Wiring,
)

PAGE = 8  # events and calls in one reply
NAME_MAX = 64  # bytes
TTL_MAX = 16_777_215
SLEEP_MAX = 86_400  # seconds
LINE_MAX = 4096  # bytes
TOLD_MAX = 64  # bytes of a name in a log line
GREET_AFTER = 100  # ms; what comes before a host has set its port up may be thrown away there
# Commands that change something; a host that looks does so many times a second.
_TOLD = frozenset(
    {"connect", "disconnect", "publish", "subscribe", "unsubscribe", "function", "variable", "reset"}
    | {"safemode", "sleep"}
)
_ANY_LENGTH = 1 << 16
_INTEGER = re.compile(r"[+-]?[0-9]+")
_INTEGER_MAX = 20  # digits; what has more is no int of any board
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
ANSWER = 42
Members = dict[str, Any]


class CommandError(Exception):
    """A command that ends with a negative result code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def _written(value: Any) -> str:
    """What a string, a number, true or false looks like as text."""
    if not isinstance(value, (str, bool, int, float)):
        raise CommandError(ERROR_INVALID_ARGUMENT)
    return value if isinstance(value, str) else json.dumps(value)


def _bool(value: Any) -> bool:
    return {"true": True, "1": True, "false": False, "0": False}[_written(value)]


def _int(value: Any) -> int:
    """A number as a C ``int`` of the board holds it."""
    text = _written(value)
    if not _INTEGER.fullmatch(text) or len(text) > _INTEGER_MAX or not -(1 << 31) <= int(text) < 1 << 31:
        raise CommandError(ERROR_INVALID_ARGUMENT)
    return int(text)


def _double(value: Any) -> float:
    text = _written(value)
    if not _NUMBER.fullmatch(text) or not math.isfinite(float(text)):
        raise CommandError(ERROR_INVALID_ARGUMENT)
    return float(text)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise CommandError(ERROR_INVALID_ARGUMENT)
    return value


def _told(name: str) -> bytes:
    """A name as a log line shows it: short, and without what moves a cursor."""
    short = name.encode("utf-8", "replace")[:TOLD_MAX]
    return bytes(ord("?") if byte < 0x20 or byte == 0x7F else byte for byte in short)


def _name(value: Any, longest: int = NAME_MAX) -> str:
    if not 0 < len(_text(value).encode()) <= longest:
        raise CommandError(ERROR_INVALID_ARGUMENT)
    return _text(value)


KINDS: dict[str, tuple[VariableType, Callable[[Any], VariableValue]]] = {
    "bool": (VariableType.BOOL, _bool),
    "int": (VariableType.INT, _int),
    "double": (VariableType.DOUBLE, _double),
    "string": (VariableType.STRING, _text),
}


class App(Application):
    """One instance per boot: everything registered by command lives until the next reset."""

    VERSIONS = (1, 2)
    SYSTEM_MODE = SystemMode.AUTOMATIC
    SYSTEM_THREAD = True

    def __init__(self, os: Wiring) -> None:
        super().__init__(os)
        self.publications: list[Publication] = []
        self.events: list[Members] = []
        self.calls: list[Members] = []
        self.answers: dict[str, int | str] = {"probe_echo": "length", "probe_answer": ANSWER}
        self.kinds: dict[str, VariableType] = {}
        self.values: dict[str, VariableValue] = {}
        self.line = b""
        self.port_open = self.greeted = self.told_online = False
        self.opened_at = 0

    def setup(self) -> None:
        for name in self.answers:
            self._register_function(name)
        defaults: dict[str, VariableValue] = {"bool": False, "int": 0, "double": 0.0, "string": ""}
        for kind, value in defaults.items():
            self._register_variable(f"probe_{kind}", kind, value)

    def loop(self) -> None:
        if self.os.serial_connected != self.port_open:
            self.port_open, self.greeted = not self.port_open, False
            self.opened_at = self.os.millis()
        if self.port_open and not self.greeted and self.os.millis() - self.opened_at >= GREET_AFTER:
            self.greeted = True  # everybody who opens the port: at the start there mostly is nobody yet
            self._narrate(f"version {self.os.version} build {self.os.build} boot {self.os.boots}".encode())
        if self.os.connected != self.told_online:
            self.told_online = not self.told_online
            self._narrate(b"online" if self.told_online else b"offline")

    def _narrate(self, text: bytes) -> None:
        """One log line, for whoever reads along."""
        self.os.write(b"probe: " + text + b"\r\n")

    # -- carriers ----------------------------------------------------------------------------------

    def control_request(self, payload: bytes) -> tuple[int, bytes]:
        code, reply = self._execute(payload)
        return code, json.dumps(reply, separators=(",", ":")).encode() if reply is not None else b""

    def serial_received(self, data: bytes) -> None:
        self.line += data
        while b"\n" in self.line:
            line, self.line = self.line.split(b"\n", 1)
            if line.startswith(b">") and len(line) <= LINE_MAX:
                code, reply = self._execute(line[1:])
                answer = {"_": code, **(reply or {})}
                self.os.write(b"<" + json.dumps(answer, separators=(",", ":")).encode() + b"\n")

    def _execute(self, payload: bytes) -> tuple[int, Members | None]:
        try:
            members = json.loads(payload)
        except (ValueError, RecursionError):
            return ERROR_INVALID_ARGUMENT, None
        if not isinstance(members, dict):
            return ERROR_INVALID_ARGUMENT, None
        code, reply = self._run(members)
        self._narrate_command(members, code)
        return code, reply

    def _run(self, members: Members) -> tuple[int, Members | None]:
        command = getattr(self, f"do_{members.get('c')}", None)
        if command is None:
            return ERROR_NOT_SUPPORTED, None
        try:
            reply: Members = command(members)
        except CommandError as error:
            return error.code, None
        except (KeyError, ValueError, TypeError, OverflowError, RecursionError):
            return ERROR_INVALID_ARGUMENT, None
        return 0, reply

    def _narrate_command(self, members: Members, code: int) -> None:
        what, name = members.get("c"), members.get("n")
        if not isinstance(what, str) or what not in _TOLD:
            return
        line = what.encode() + (b" " + _told(name) if isinstance(name, str) else b"")
        self._narrate(line if code == 0 else line + f": error {int(code)}".encode())

    # -- commands ----------------------------------------------------------------------------------

    def do_info(self, members: Members) -> Members:
        del members
        return {
            "app": "probe",
            "version": self.os.version,
            "build": self.os.build,
            "os": self.os.device_os,
            "boots": self.os.boots,
            "uptime": self.os.millis(),
        }

    def do_cloud(self, members: Members) -> Members:
        del members
        return {"connected": self.os.connected}

    def do_connect(self, members: Members) -> Members:
        del members
        self.os.connect()
        return {}

    def do_disconnect(self, members: Members) -> Members:
        del members
        self.os.disconnect()
        return {}

    def do_publish(self, members: Members) -> Members:
        name, data = _name(members["n"], _ANY_LENGTH), _text(members.get("d", ""))
        if not self.os.connected:
            raise CommandError(ERROR_INVALID_STATE)
        ack, ttl = AckMode(_text(members.get("f", ""))), _int(members.get("ttl", 60))
        if not 0 <= ttl <= TTL_MAX:
            raise CommandError(ERROR_INVALID_ARGUMENT)
        publication = self.os.publish(name, data.encode(), ttl=ttl, ack=ack)
        self.publications.append(publication)
        return {"id": len(self.publications)}

    def do_published(self, members: Members) -> Members:
        number = _int(members["id"])
        if not 1 <= number <= len(self.publications):
            raise CommandError(ERROR_INVALID_ARGUMENT)
        return {"state": str(self.publications[number - 1].state)}

    def do_subscribe(self, members: Members) -> Members:
        prefix = _name(members["n"])
        if not self.os.subscribe(prefix, self._received):
            raise CommandError(ERROR_LIMIT_EXCEEDED)
        return {"id": 1}

    def do_unsubscribe(self, members: Members) -> Members:
        del members
        self.os.unsubscribe()
        return {}

    def do_received(self, members: Members) -> Members:
        return self._page("events", self.events, members)

    def do_calls(self, members: Members) -> Members:
        return self._page("calls", self.calls, members)

    def do_function(self, members: Members) -> Members:
        name, result = _name(members["n"]), members["r"]
        answer = "length" if result == "length" else _int(result)
        self._register_function(name)
        self.answers[name] = answer
        return {}

    def do_variable(self, members: Members) -> Members:
        self._register_variable(_name(members["n"]), _text(members["t"]), members["v"])
        return {}

    def do_reset(self, members: Members) -> Members:
        del members
        self.os.reset()
        return {}

    def do_safemode(self, members: Members) -> Members:
        del members
        self.os.enter_safe_mode()
        return {}

    def do_sleep(self, members: Members) -> Members:
        seconds = _double(members["s"])
        if not 0 < seconds <= SLEEP_MAX:
            raise CommandError(ERROR_INVALID_ARGUMENT)
        self.os.sleep(seconds)
        return {}

    # -- what happens on the board -----------------------------------------------------------------

    def _page(self, key: str, items: list[Members], members: Members) -> Members:
        start = _int(members.get("from", 0))
        if start < 0:
            raise CommandError(ERROR_INVALID_ARGUMENT)
        page = items[start : start + PAGE]
        return {key: page, "next": start + len(page)}

    def _received(self, name: str, data: bytes) -> None:
        self.events.append({"n": name, "d": data.decode("utf-8", "replace")})
        self._narrate(b"event " + _told(name) + f", {len(data)} bytes".encode())

    def _register_function(self, name: str) -> None:
        def called(argument: str) -> int:
            self.calls.append({"n": name, "a": argument})
            answer = self.answers[name]
            result = len(argument.encode()) if isinstance(answer, str) else answer
            self._narrate(b"call " + _told(name) + f", {len(argument.encode())} bytes: {result}".encode())
            return result

        if not self.os.function(name, called):
            raise CommandError(ERROR_INVALID_ARGUMENT)

    def _register_variable(self, name: str, kind: str, value: Any) -> None:
        wire_type, convert = KINDS[kind]
        if self.kinds.get(name, wire_type) is not wire_type:
            raise CommandError(ERROR_INVALID_ARGUMENT)
        converted = convert(value)
        if not self.os.variable(name, wire_type, lambda: self.values[name]):
            raise CommandError(ERROR_INVALID_ARGUMENT)
        self.kinds[name] = wire_type
        self.values[name] = converted
