"""A board's serial output: read by a thread, kept, never consumed. USB fact sheet 1.2, 2.2 and 3.2.

The log is append-only. Whoever looks for something holds a cursor of their own (an offset from :meth:`mark`), so
one assertion cannot swallow what another needs. The port comes and goes with the board; the log stays.
"""

from __future__ import annotations

import bisect
import codecs
import re
import termios
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import serial

from hil.errors import RigError

BAUD = 9600  # CDC ignores it; 14400 and 28800 are commands to the board
_QUIET_WITHIN = 30.0  # seconds that a board may go on talking while its silence is waited for
_OPEN_EVERY = (
    0.1  # seconds; a port can be busy for a moment after it appeared, or for as long as another holds it
)
_SECRET = re.compile(r"(Device Secret: ?)\S+")
# What pyserial raises when the board leaves in the middle of a call; termios has an error of its own.
_PORT_ERRORS = (OSError, TypeError, ValueError, termios.error)
_TAIL = 400  # characters of the log that an error shows


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line without its end; ``at`` is when its first byte came, in monotonic seconds."""

    at: float
    text: str


class _Port(serial.Serial):
    """A port that keeps what the board said before it was open: pyserial throws that away, the boot line for one."""

    def _reset_input_buffer(self) -> None:
        """Nothing; ``open`` calls it."""


class SerialLog:
    """The serial output of one board. Thread-safe.

    ``mark()`` and the ``since`` arguments are offsets into the log, which only grows.
    """

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self._clock = clock
        self._grown = threading.Condition()
        # What came, piece by piece, with the offset and the time of each: one growing text would be copied each time.
        self._pieces: list[str] = []
        self._starts: list[int] = []
        self._times: list[float] = []
        self._size = 0
        self._decoder = _decoder()
        self._port: serial.Serial | None = None
        self._reader: threading.Thread | None = None
        self._wanted: str | None = None
        self._trouble = "nobody reads it"  # why the port is not open

    # -- the port ------------------------------------------------------------------------------------------

    def attach(self, tty: str) -> None:
        """Read from ``tty`` from now on. The port is opened by the reader thread, again if it is busy at first."""
        with self._grown:
            if self._wanted == tty:
                return
        self.detach()
        with self._grown:
            self._wanted = tty
            self._decoder = _decoder()
            self._trouble = "not yet"
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
            raise RigError(f"serial port of {self.name} is not open", found=self._trouble)
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
        trouble = "let go"
        try:
            while self._wanted == tty:
                data = port.read(1)
                if data:
                    self.append(data + port.read(port.in_waiting))
            self.append(port.read(port.in_waiting))
        except _PORT_ERRORS as error:
            trouble = str(error)  # the board left; whoever follows it attaches the next port
        finally:
            with self._grown:
                self._port = None
                self._trouble = trouble
                if self._wanted == tty:
                    self._wanted = None  # the next port may have the same name
                self._grown.notify_all()
            _close(port)

    def _open(self, tty: str) -> serial.Serial | None:
        """The open port; ``None`` once it is not wanted any more."""
        while True:
            try:
                return _Port(tty, BAUD, timeout=None, write_timeout=5, exclusive=True)
            except _PORT_ERRORS as error:
                with self._grown:
                    self._trouble = str(error)
                    if self._grown.wait_for(lambda: self._wanted != tty, _OPEN_EVERY):
                        return None

    # -- the log -------------------------------------------------------------------------------------------

    def append(self, data: bytes) -> None:
        """Add what came from the board; a character that is not whole yet waits for its rest."""
        with self._grown:
            text = self._decoder.decode(data)
            if not text:
                return
            self._pieces.append(text)
            self._starts.append(self._size)
            self._times.append(self._clock())
            self._size += len(text)
            self._grown.notify_all()

    def mark(self) -> int:
        """The end of the log: what comes later is after it."""
        with self._grown:
            return self._size

    def text(self, since: int = 0) -> str:
        """The log from ``since`` on, with the device secret masked."""
        return _SECRET.sub(r"\1***", self._from(since))

    def lines(self, since: int = 0) -> list[LogLine]:
        """The lines from ``since`` on, the unfinished last one included; the device secret is masked."""
        with self._grown:
            text, starts, times = self._from(since), list(self._starts), list(self._times)
        found = []
        place = since
        for raw in text.splitlines(keepends=True):
            shown = _SECRET.sub(r"\1***", raw.rstrip("\r\n"))
            found.append(LogLine(times[bisect.bisect_right(starts, place) - 1], shown))
            place += len(raw)
        return found

    def expect(self, pattern: str | re.Pattern[str], within: float = 5.0, *, since: int = 0) -> re.Match[str]:
        """The first match of ``pattern`` after ``since``, waiting up to ``within`` seconds; nothing is consumed.

        ``^`` and ``$`` stand for the ends of lines. Raises ``AssertionError`` that shows the log.
        """
        return self.find(pattern, within, since=since)[0]

    def find(
        self, pattern: str | re.Pattern[str], within: float = 5.0, *, since: int = 0
    ) -> tuple[re.Match[str], int]:
        """Like :meth:`expect`, and the offset in the log where the match ends."""
        wanted = re.compile(pattern, re.MULTILINE) if isinstance(pattern, str) else pattern
        deadline = self._clock() + within
        start = max(
            0, since - 1
        )  # one character more, by which ``^`` knows whether a line begins at ``since``
        seen = self._from(start)
        while True:
            began = time.monotonic()
            found = wanted.search(seen, since - start)
            if found is not None:
                return found, start + found.end()
            left = deadline - self._clock()
            if left <= 0:
                break
            # A search through much takes its time: at most half of the time goes into searching.
            time.sleep(min(left, time.monotonic() - began))
            with self._grown:
                self._grows(start + len(seen), max(0.0, deadline - self._clock()))
                seen += self._from(start + len(seen))
        raise AssertionError(self._no_match(wanted.pattern, within, since))

    def _no_match(self, pattern: str, within: float, since: int) -> str:
        with self._grown:
            port = "open" if self._port is not None else f"not open ({self._trouble})"
        seen = self.text(since)[-_TAIL:] or "(nothing)"
        return f"serial log of {self.name}: no match for {pattern!r} within {within:g} s; port {port}; saw:\n{seen}"

    def until_idle(self, since: int, first: float, idle: float = 0.25, within: float = _QUIET_WITHIN) -> str:
        """What comes after ``since`` until the line is quiet for ``idle`` seconds; ``first`` bounds the first byte.

        Not masked: for parsers, not for reports. Raises ``RigError`` when the board is not quiet ``within`` seconds.
        """
        with self._grown:
            self._grows(since, first)
            deadline = time.monotonic() + within
            while True:
                size = self._size
                if not self._grows(size, idle):
                    return self._from(since)
                if time.monotonic() > deadline:
                    raise RigError(
                        f"{self.name} does not stop talking",
                        expected=f"{idle:g} s of silence within {within:g} s",
                        found=f"{self._size - since} characters so far",
                        hint="does the application write to the port in a loop?",
                    )

    def _grows(self, size: int, within: float) -> bool:
        """Whether the log is longer than ``size`` within that many seconds."""
        with self._grown:
            return self._grown.wait_for(lambda: self._size > size, within)

    def _from(self, since: int) -> str:
        with self._grown:
            first = max(0, bisect.bisect_right(self._starts, since) - 1)
            pieces = self._pieces[first:]
            if not pieces:
                return ""
            return pieces[0][since - self._starts[first] :] + "".join(pieces[1:])


def touch(tty: str, baud: int) -> None:
    """Open and close ``tty`` at a ``baud`` rate that is a command: 14400 enters DFU, 28800 listening mode.

    The board resets from within the call, so errors are what success looks like.
    """
    try:
        serial.Serial(tty, baud, timeout=0, write_timeout=1).close()
    except _PORT_ERRORS:
        return


def _decoder() -> codecs.IncrementalDecoder:
    return codecs.getincrementaldecoder("utf-8")("replace")


def _close(port: serial.Serial) -> None:
    try:
        port.close()
    except _PORT_ERRORS:
        return
