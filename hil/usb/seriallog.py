"""A board's serial output: read by a thread, kept, never consumed. USB fact sheet 1.2, 2.2 and 3.2.

The log is append-only. Whoever looks for something holds a cursor of their own (an offset from :meth:`mark`), so
one assertion cannot swallow what another needs. The port comes and goes with the board; the log stays.
"""

from __future__ import annotations

import bisect
import re
import termios
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import serial

from hil.errors import RigError

BAUD = 9600  # CDC ignores it; 14400 and 28800 are commands to the board
_OPEN_TRIES = 20  # a port can be busy for a moment after it appeared
_SECRET = re.compile(r"(Device Secret: ?)\S+")
# What pyserial raises when the board leaves in the middle of a call; termios has an error of its own.
_PORT_ERRORS = (OSError, TypeError, ValueError, termios.error)
_TAIL = 400  # characters of the log that an error shows


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line without its end; ``at`` is when its first byte came, in monotonic seconds."""

    at: float
    text: str


class SerialLog:
    """The serial output of one board. Thread-safe.

    ``mark()`` and the ``since`` arguments are offsets into the log, which only grows.
    """

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self._clock = clock
        self._grown = threading.Condition()
        self._text = ""
        self._starts: list[int] = []
        self._times: list[float] = []
        self._port: serial.Serial | None = None
        self._reader: threading.Thread | None = None
        self._wanted: str | None = None

    # -- the port ------------------------------------------------------------------------------------------

    def attach(self, tty: str) -> None:
        """Read from ``tty`` from now on. The port is opened by the reader thread, again if it is busy at first."""
        if self._wanted == tty and self._reader is not None and self._reader.is_alive():
            return
        self.detach()
        with self._grown:
            self._wanted = tty
        self._reader = threading.Thread(
            target=self._read, args=(tty,), name=f"serial-{self.name}", daemon=True
        )
        self._reader.start()

    def detach(self) -> None:
        """Let the port go; the log stays."""
        with self._grown:
            self._wanted = None
            if self._port is not None:
                # Under the lock: the reader forgets the port under it before it closes it.
                self._port.cancel_read()
            self._grown.notify_all()
        reader, self._reader = self._reader, None
        if reader is not None and reader is not threading.current_thread():
            reader.join(5)

    @property
    def attached(self) -> bool:
        """Whether the port is open now."""
        with self._grown:
            return self._port is not None

    def wait_attached(self, within: float) -> bool:
        """Whether the port is open within that many seconds."""
        with self._grown:
            return self._grown.wait_for(lambda: self._port is not None, within)

    def write(self, data: bytes) -> None:
        """Send ``data`` to the board. Raises ``RigError`` if its port is not open."""
        with self._grown:
            port = self._port
        if port is None:
            raise RigError(
                f"serial port of {self.name} is not open", found="no port, or somebody else holds it"
            )
        try:
            port.write(data)
        except _PORT_ERRORS as error:
            raise RigError(f"cannot write to the serial port of {self.name}", found=str(error)) from error

    def _read(self, tty: str) -> None:
        port = self._open(tty)
        if port is None:
            return
        with self._grown:
            self._port = port
            self._grown.notify_all()
        try:
            while self._wanted == tty:
                data = port.read(1)
                if data:
                    self.append(data + port.read(port.in_waiting))
        except _PORT_ERRORS:
            pass  # the board left; whoever follows it attaches the next port
        finally:
            with self._grown:
                self._port = None
                self._grown.notify_all()
            _close(port)

    def _open(self, tty: str) -> serial.Serial | None:
        for _ in range(_OPEN_TRIES):
            try:
                return serial.Serial(tty, BAUD, timeout=None, write_timeout=5, exclusive=True)
            except _PORT_ERRORS:
                with self._grown:
                    if self._grown.wait_for(lambda: self._wanted != tty, 0.1):
                        return None
        return None

    # -- the log -------------------------------------------------------------------------------------------

    def append(self, data: bytes) -> None:
        """Add what came from the board."""
        with self._grown:
            self._starts.append(len(self._text))
            self._times.append(self._clock())
            self._text += data.decode("utf-8", "replace")
            self._grown.notify_all()

    def mark(self) -> int:
        """The end of the log: what comes later is after it."""
        with self._grown:
            return len(self._text)

    def text(self, since: int = 0) -> str:
        """The log from ``since`` on, with the device secret masked."""
        with self._grown:
            return _SECRET.sub(r"\1***", self._text[since:])

    def lines(self, since: int = 0) -> list[LogLine]:
        """The lines from ``since`` on, the unfinished last one included; the device secret is masked."""
        with self._grown:
            text, starts, times = self._text, list(self._starts), list(self._times)
        found = []
        place = since
        for raw in text[since:].splitlines(keepends=True):
            shown = _SECRET.sub(r"\1***", raw.rstrip("\r\n"))
            found.append(LogLine(times[bisect.bisect_right(starts, place) - 1], shown))
            place += len(raw)
        return found

    def expect(self, pattern: str | re.Pattern[str], within: float = 5.0, *, since: int = 0) -> re.Match[str]:
        """The first match of ``pattern`` after ``since``, waiting up to ``within`` seconds; nothing is consumed.

        ``^`` and ``$`` stand for the ends of lines. Raises ``AssertionError`` that shows the log.
        """
        wanted = re.compile(pattern, re.MULTILINE) if isinstance(pattern, str) else pattern
        deadline = self._clock() + within
        with self._grown:
            while True:
                found = wanted.search(self._text, since)
                if found is not None:
                    return found
                left = deadline - self._clock()
                if left <= 0:
                    break
                self._grown.wait(left)
            port = "open" if self._port is not None else "not open"
        seen = self.text(since)[-_TAIL:] or "(nothing)"
        raise AssertionError(
            f"serial log of {self.name}: no match for {wanted.pattern!r} within {within:g} s; port {port}; saw:\n{seen}"
        )

    def until_idle(self, since: int, first: float, idle: float = 0.25) -> str:
        """What comes after ``since`` until the line is quiet for ``idle`` seconds; ``first`` bounds the first byte.

        Not masked: for parsers, not for reports.
        """
        with self._grown:
            self._grown.wait_for(lambda: len(self._text) > since, first)
            while True:
                size = len(self._text)
                if not self._grown.wait_for(lambda seen=size: len(self._text) > seen, idle):  # type: ignore[misc]
                    return self._text[since:]


def touch(tty: str, baud: int) -> None:
    """Open and close ``tty`` at a ``baud`` rate that is a command: 14400 enters DFU, 28800 listening mode.

    The board resets from within the call, so errors are what success looks like.
    """
    try:
        serial.Serial(tty, baud, timeout=0, write_timeout=1).close()
    except _PORT_ERRORS:
        return


def _close(port: serial.Serial) -> None:
    try:
        port.close()
    except _PORT_ERRORS:
        return
