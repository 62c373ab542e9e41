"""The host's side of the probe: firmware/probe/CONTRACT.md, version 1.

Commands travel by control request 10; by serial lines where there is no control interface. A waiting method asks
again until its deadline and says what it saw last.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from hil.device.requests import ControlRequest
from hil.device.results import Result, result_name
from hil.errors import RigError
from hil.observe import quietly, verb
from hil.rig.modes import Mode
from hil.usb.control import ControlChannel
from hil.usb.jsonreply import json_object
from hil.usb.seriallog import SerialLog

PROBE = "probe"  # its name as an application
COMMAND_TIMEOUT = 10.0  # seconds: the application's thread answers
_POLL = 0.05
_BURST = 4  # events within a second that Device OS accepts (protocol fact sheet 6)
_BURST_WINDOW = 1.1  # seconds, a little more than the board's
_LISTS = (("received", "events"), ("calls", "calls"))  # command and the member that holds its list
_PAGE_LIMIT = 1000  # pages; a probe that never ends its list is broken
_NOT_THE_PROBE = "is the probe flashed, and not some other application?"


class PublishState(StrEnum):
    """What became of a publish; ``REFUSED`` means that Device OS did not accept it."""

    PENDING = "pending"
    OK = "ok"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ProbeInfo:
    """What runs on the board. ``uptime`` is in seconds, ``boots`` counts starts since power came on."""

    app: str
    version: int
    build: str
    os: str
    boots: int
    uptime: float


@dataclass(frozen=True, slots=True)
class ReceivedEvent:
    """An event that the probe's subscription received."""

    name: str
    data: str


@dataclass(frozen=True, slots=True)
class ReceivedCall:
    """A function call that the probe received."""

    name: str
    argument: str


class ProbeError(RigError):
    """The probe answered a command with a negative result, kept in ``result``."""

    def __init__(self, board: str, command: str, result: int) -> None:
        self.result = result
        super().__init__(
            f"probe on {board} refused command {command!r}",
            expected="result 0",
            found=f"result {result_name(result)}",
            hint=_NOT_THE_PROBE if result == Result.NOT_SUPPORTED else "",
        )


class ProbeBoard(Protocol):
    """What the probe needs of its board."""

    @property
    def name(self) -> str: ...

    @property
    def serial(self) -> SerialLog: ...

    @property
    def has_control(self) -> bool: ...

    @property
    def enumeration(self) -> object: ...

    def control(self) -> ControlChannel: ...

    def leaving(self, restarts: bool) -> None:
        """The board is about to leave the cloud, by a restart or without one."""

    def expect_restart(
        self, action: Callable[[], object], within: float, mode: Mode = Mode.NORMAL
    ) -> None: ...


class Probe:
    """Commands to the probe on one board. Methods raise ``ProbeError`` when the probe refuses."""

    def __init__(self, board: ProbeBoard) -> None:
        self._board = board
        self._begun: tuple[object, dict[str, int]] = (None, {})
        self._published: deque[float] = deque(maxlen=_BURST)

    @property
    def actor(self) -> str:
        """Who acts in what the probe does."""
        return f"{self._board.name} probe"

    @verb
    def begin(self) -> None:
        """From here on ``received`` and ``calls`` leave out what came before; subscriptions of before are dropped.

        Called at the start of a test, so that tests do not see each other's events.
        """
        self.unsubscribe()
        self._begun = (None, {})
        ends = {key: len(self._pages(command, key, 0)) for command, key in _LISTS}
        self._begun = (self._board.enumeration, ends)

    # -- what runs -----------------------------------------------------------------------------------------

    @verb
    def info(self) -> ProbeInfo:
        reply = self._execute("info")
        return ProbeInfo(
            str(reply["app"]),
            int(reply["version"]),
            str(reply["build"]),
            str(reply["os"]),
            int(reply["boots"]),
            int(reply["uptime"]) / 1000,
        )

    @verb
    def reset(self, within: float = 30.0) -> None:
        """Reset through Device OS and wait until the board answers again."""
        self._board.expect_restart(lambda: self._execute("reset"), within)

    @verb
    def safemode(self, within: float = 30.0) -> None:
        """Restart into safe mode and wait until the board answers again; the probe does not run there."""
        self._board.expect_restart(lambda: self._execute("safemode"), within, Mode.SAFE)

    @verb
    def sleep(self, seconds: float) -> None:
        """Go offline, sleep and come back; USB is absent meanwhile. Returns at once."""
        self._board.leaving(False)
        self._execute("sleep", s=seconds)

    # -- the cloud -----------------------------------------------------------------------------------------

    @verb
    def connected(self) -> bool:
        """Whether the board believes to be connected to the cloud."""
        return bool(self._execute("cloud")["connected"])

    @verb
    def connect(self) -> None:
        """Go online; returns at once."""
        self._execute("connect")

    @verb
    def disconnect(self) -> None:
        """Say goodbye and go offline; returns at once."""
        self._board.leaving(False)
        self._execute("disconnect")

    @verb
    def wait_connected(self, within: float = 30.0, *, connected: bool = True) -> None:
        """Wait until the board believes to be connected (or not). Raises ``AssertionError``."""
        self._until(
            lambda: self.connected() is connected, within, f"connected is {connected}", self.connected
        )

    @verb
    def publish(self, name: str, data: str = "", flags: str = "", ttl: int = 60, *, pace: bool = True) -> int:
        """Publish a private event. ``flags``: ``""``, ``"ack"`` or ``"noack"``. Returns its number in this boot.

        Device OS refuses the fifth event within a second; with ``pace`` this waits for its turn instead.
        """
        if pace:
            self._wait_for_turn()
        self._published.append(time.monotonic())
        return int(self._execute("publish", n=name, d=data, f=flags, ttl=ttl)["id"])

    @verb
    def published(self, number: int) -> PublishState:
        """What became of publish ``number``."""
        return PublishState(self._execute("published", id=number)["state"])

    @verb
    def wait_published(self, number: int, within: float = 10.0) -> PublishState:
        """What became of publish ``number`` once that is decided. Raises ``AssertionError`` if it stays pending."""
        self._until(
            lambda: self.published(number) is not PublishState.PENDING,
            within,
            f"publish {number} is decided",
            lambda: self.published(number),
        )
        return self.published(number)

    @verb
    def subscribe(self, prefix: str) -> int:
        """Subscribe to events of own devices whose names start with ``prefix``."""
        return int(self._execute("subscribe", n=prefix)["id"])

    @verb
    def unsubscribe(self) -> None:
        """Drop all subscriptions of the application."""
        self._execute("unsubscribe")

    @verb
    def received(self, start: int = 0) -> list[ReceivedEvent]:
        """Events received since boot or ``begin``, from the ``start``-th on."""
        pages = self._pages("received", "events", start)
        return [ReceivedEvent(str(each["n"]), str(each["d"])) for each in pages]

    @verb
    def wait_received(
        self, name: str, data: str | None = None, within: float = 10.0, start: int = 0
    ) -> ReceivedEvent:
        """The first received event of that name (and data). Raises ``AssertionError`` that lists what came."""

        def matches() -> list[ReceivedEvent]:
            return [each for each in self.received(start) if each.name == name and data in (None, each.data)]

        self._until(
            lambda: bool(matches()), within, f"event {name!r} is received", lambda: self.received(start)
        )
        return matches()[0]

    @verb
    def function(self, name: str, result: int | str) -> None:
        """Register a function or change what it returns; ``"length"`` is the length of its argument in bytes."""
        self._execute("function", n=name, r=result)

    @verb
    def calls(self, start: int = 0) -> list[ReceivedCall]:
        """Function calls received since boot or ``begin``, from the ``start``-th on."""
        pages = self._pages("calls", "calls", start)
        return [ReceivedCall(str(each["n"]), str(each["a"])) for each in pages]

    @verb
    def variable(self, name: str, value: bool | int | float | str) -> None:
        """Register a variable or set it; its type is that of ``value``."""
        kinds: dict[type, str] = {bool: "bool", int: "int", float: "double", str: "string"}
        self._execute("variable", n=name, t=kinds[type(value)], v=value)

    # -- carriers ------------------------------------------------------------------------------------------

    @verb
    def command(self, name: str, /, **members: Any) -> dict[str, Any]:
        """Any command of the contract; the reply's members. Raises ``ProbeError``, ``RigError``, ``WireError``."""
        return self._execute(name, **members)

    def _execute(self, name: str, /, **members: Any) -> dict[str, Any]:
        text = json.dumps({"c": name, **members}, ensure_ascii=False, separators=(",", ":"))
        if self._board.has_control:
            reply = self._board.control().request(ControlRequest.APP_CUSTOM, text.encode(), COMMAND_TIMEOUT)
            result, values = reply.result, _object(reply.data)
        else:
            values = self._by_serial(text)
            result = int(values.pop("_", 0))
        if result < 0:
            raise ProbeError(self._board.name, name, result)
        return values

    def _by_serial(self, text: str) -> dict[str, Any]:
        mark = self._board.serial.mark()
        self._board.serial.write(f">{text}\n".encode())
        try:
            answer = self._board.serial.expect(r"^<(\{.*\})\r?\n", COMMAND_TIMEOUT, since=mark)
        except AssertionError as error:
            raise RigError(
                f"probe on {self._board.name} did not answer over serial", found=str(error)
            ) from error
        return _object(answer[1].encode())

    def _pages(self, command: str, key: str, start: int) -> list[dict[str, Any]]:
        enumeration, ends = self._begun
        if enumeration == self._board.enumeration:  # a board that restarted counts from the beginning again
            start += ends.get(key, 0)
        found: list[dict[str, Any]] = []
        for _ in range(_PAGE_LIMIT):
            page = self._execute(command, **{"from": start})
            items: list[dict[str, Any]] = page[key]
            if not items:
                break
            found += items
            start = int(page["next"])
        return found

    def _wait_for_turn(self) -> None:
        """Wait until another event fits into the board's rate limit."""
        if len(self._published) == _BURST:
            time.sleep(max(0.0, self._published[0] + _BURST_WINDOW - time.monotonic()))

    def _until(
        self, condition: Callable[[], bool], within: float, what: str, seen: Callable[[], object]
    ) -> None:
        deadline = time.monotonic() + within
        with quietly():
            while not condition():
                if time.monotonic() > deadline:
                    raise AssertionError(
                        f"probe on {self._board.name}: not {what} within {within:g} s; saw {seen()!r}"
                    )
                time.sleep(_POLL)


def _object(data: bytes) -> dict[str, Any]:
    """The JSON object in a reply; an empty reply is an empty one. Raises ``WireError``."""
    return json_object(data, "the probe's reply") if data else {}
