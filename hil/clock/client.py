"""The other ends of the control socket: a process that follows a clock, and a hand that moves it."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from hil.clock.messages import (
    MAX_LINE,
    MAX_NAME,
    Advance,
    Follow,
    Hold,
    Request,
    Show,
    Shown,
    Step,
    advanced_of,
    encode,
    line,
    parse_answer,
    parse_order,
    reading_of,
    shown_of,
)
from hil.clock.movable import MovableClock
from hil.clock.parts import Advanced
from hil.clock.system import SystemClock
from hil.clock.types import CLOCK_VARIABLE, Clock, ClockError
from hil.controlsocket import Fields, refusal, shut
from hil.errors import HilError

_LOG = logging.getLogger(__name__)
_TIMEOUT = 30.0  # real seconds for an answer; an advance may take as long as it takes


class _Connection:
    """A connection to a clock's control socket. Raises ``ClockError`` when nobody is there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(_TIMEOUT)
        try:
            self.socket.connect(os.fspath(path))
        except OSError as error:
            self.socket.close()
            raise ClockError(
                f"no clock on {path}",
                found=str(error),
                hint="start one: `hil rack run --clock -- ...` or `hil cloud --clock`",
            ) from error
        self.stream = self.socket.makefile("rb")

    def ask(self, request: Request) -> Fields:
        """The answer to a request. Raises ``ClockError``."""
        try:
            self.socket.sendall(encode(request))
            data = self.stream.readline(MAX_LINE)
        except OSError as error:
            raise self._gone(str(error)) from error
        if not data:
            raise self._gone("it closed the connection")
        return parse_answer(data)

    def close(self) -> None:
        self.stream.close()
        self.socket.close()

    def _gone(self, found: str) -> ClockError:
        return ClockError(
            f"the clock on {self.path} is gone", found=found, hint="see the process that ran it"
        )


class ClockClient:
    """Moves and shows the clock on the control socket ``path``. Not for two threads at once."""

    def __init__(self, path: Path) -> None:
        self._connection = _Connection(path)

    def advance(
        self, *, days: float = 0.0, hours: float = 0.0, minutes: float = 0.0, seconds: float = 0.0
    ) -> Advanced:
        """Move every process that follows the clock forward; all that is due on the way has happened then.

        Raises ``ClockError``: not forward, more than ten years, or a follower that did not come along.
        """
        distance = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds).total_seconds()
        self._connection.socket.settimeout(None)
        try:
            return advanced_of(self._connection.ask(Advance(distance)))
        finally:
            self._connection.socket.settimeout(_TIMEOUT)

    def show(self) -> Shown:
        """How the clock stands, and who follows it."""
        return shown_of(self._connection.ask(Show()))

    def time(self) -> float:
        """What the clock shows, in seconds since 1970."""
        return self.show().time

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Follower:
    """Makes this process follow the clock on ``path``: hand its :attr:`clock` to what is to be moved.

    When the leader ends, or :meth:`close` is called, the clock goes on at real pace from where it is.
    """

    def __init__(self, path: Path, name: str) -> None:
        name = f"{name} (process {os.getpid()})"[:MAX_NAME]
        self._connection = _Connection(path)
        try:
            reading = reading_of(self._connection.ask(Follow(name)))
        except BaseException:
            self._connection.close()
            raise
        self._connection.socket.settimeout(None)
        self._own = MovableClock(reading=reading)
        self._closing = False
        self._thread = threading.Thread(target=self._obey, name="clock-follower", daemon=True)
        self._thread.start()

    @property
    def clock(self) -> Clock:
        """The clock here; only the leader can move it."""
        return self._own

    def close(self) -> None:
        """Follow no longer. Idempotent."""
        self._closing = True
        shut(self._connection.socket)
        self._thread.join()
        self._connection.close()

    def _obey(self) -> None:
        try:
            while data := self._connection.stream.readline(MAX_LINE):
                try:
                    answer = self._do(data)
                except HilError as error:
                    answer = refusal(error)
                self._connection.socket.sendall(line(**answer))
        except OSError:
            pass  # the leader is gone
        if not self._closing:
            _LOG.warning("the clock on %s is gone; this process goes on at real pace", self._connection.path)
        self._own.run(self._own.monotonic() - time.monotonic())

    def _do(self, data: bytes) -> Fields:
        order = parse_order(data)
        if isinstance(order, Hold):
            return {"ok": True, "at": self._own.hold()}
        if isinstance(order, Step):
            report = self._own.step(order.at)
            return {
                "ok": True,
                "changes": report.changes,
                "due": report.due,
                "fired": report.fired,
                "alone": report.alone,
            }
        self._own.run(order.shift)
        return {"ok": True}


def socket_of_run() -> Path | None:
    """The control socket of the clock that this process is to follow; ``None`` when it is on real time."""
    named = os.environ.get(CLOCK_VARIABLE)
    return Path(named) if named else None


@contextlib.contextmanager
def clock_of_run(name: str) -> Iterator[Clock]:
    """The clock of this run: a follower of what ``HIL_CLOCK`` names, else the real time.

    ``name`` is what this process is called in errors. Raises ``ClockError`` when nobody is on that socket.
    """
    path = socket_of_run()
    if path is None:
        yield SystemClock()
        return
    follower = Follower(path, name)
    try:
        yield follower.clock
    finally:
        follower.close()
