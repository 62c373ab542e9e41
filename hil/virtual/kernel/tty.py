"""A tty as cdc_acm gives it: a pty of the rack's own devpts, bound to /dev/ttyACMn.

As the real driver: sends 9600 8N1 when it binds and then what changes; starts cooked, with echo; DTR and RTS go up at
each open and, with HUPCL, down at the last close; what the board sends while nobody has the tty open is lost; an unplug
hangs it up.
Facts: rootless fact sheet 1 step 13; drivers/usb/class/cdc-acm.c.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import termios
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from hil.virtual.kernel import linux
from hil.virtual.kernel.linecoding import CFLAG, NOT_A_PTYS, LineCoding
from hil.virtual.kernel.namespaces import RACK_PTS
from hil.virtual.kernel.usbdevice import SerialFace

_MODE = 0o660  # of the node
TIOCM_DTR, TIOCM_RTS, TIOCM_CTS = 0x002, 0x004, 0x020
_TIOCSPTLCK, _TIOCGPTN = 0x40045431, 0x80045430
_BACKLOG_LIMIT = 64 * 1024
_CHUNK = 4096
_KEPT_AT_FIRST = termios.CS8 | termios.CREAD


@dataclass(frozen=True, slots=True)
class Later:
    """A client's call that is left waiting. ``answer`` takes 0 or an errno; ``waits`` says whether it still does."""

    answer: Callable[[int], None]
    waits: Callable[[], bool]


class Tty:
    """One tty. Callbacks into ``face`` are serialised and never run under a lock that ``close`` takes."""

    def __init__(self, name: str, face: SerialFace, on_backlog: Callable[[Tty, bool], None]) -> None:
        self.path = Path("/dev", name)
        self._face = face
        self._on_backlog = on_backlog
        self._deliver = threading.RLock()
        self._io = threading.Lock()
        self._backlog = bytearray()
        self._opens = 0
        self._lines = 0
        self._coding = LineCoding()
        self._hung_up = False
        self._left: list[tuple[Later, int]] = []
        self.kept_flags = _KEPT_AT_FIRST
        self.master, self.slave, self.pts = _open_pty()
        self._closed = False
        _as_fresh_serial_port(self.slave)
        os.fchmod(self.slave, _MODE)
        status = os.fstat(self.slave)
        self.key = status.st_dev, status.st_ino
        self.device_number = os.major(status.st_rdev), os.minor(status.st_rdev)

    def show(self) -> None:
        """The node appears and the board may send."""
        self.path.touch()
        linux.mount(str(self.pts), str(self.path), None, linux.MS_BIND)
        self._face.send = self.send

    def close(self) -> None:
        """The node goes; whoever has it open sees a hang-up: reads end, writes give EIO."""
        linux.unmount(str(self.path))
        self.path.unlink()
        with self._io:
            self._closed = True
            os.close(self.master)
            os.close(self.slave)
            left, self._left = self._left, []
        for call, number in left:
            call.answer(number)

    def when_gone(self, call: Later, number: int) -> None:
        """Leaves ``call`` waiting until the tty goes: then it ends with ``number``, 0 or an errno."""
        with self._io:
            self._left = [one for one in self._left if one[0].waits()]
            if not self._closed:
                self._left.append((call, number))
                return
        call.answer(number)

    def cut(self) -> None:
        """The board has left, and nobody knows yet: what clients do reaches nobody."""
        self._face = SerialFace()

    # Board to host.

    def send(self, data: bytes) -> None:
        """Never blocks; drops what nobody reads."""
        with self._io:
            if self._closed or self._opens == 0:
                return
            room = _BACKLOG_LIMIT - len(self._backlog)
            self._backlog += data[:room]
            waiting = self._flush()
        if waiting:
            self._on_backlog(self, True)

    def flush(self) -> None:
        """The pty has room again."""
        with self._io:
            waiting = not self._closed and self._flush()
        self._on_backlog(self, waiting)

    def _flush(self) -> bool:
        while self._backlog:
            try:
                written = os.write(self.master, self._backlog[:_CHUNK])
            except BlockingIOError:
                return True
            if not written:
                return True
            del self._backlog[:written]
        return False

    # Host to board.

    def drain(self) -> None:
        """Hands the board what clients have written so far."""
        with self._deliver:
            while data := self._read():
                self._face.receive(data)

    def _read(self) -> bytes:
        with self._io:
            if self._closed:
                return b""
            try:
                return os.read(self.master, _CHUNK)
            except OSError as error:
                if error.errno in (errno.EAGAIN, errno.EIO):
                    return b""
                raise

    def bound(self) -> None:
        """The driver has taken the port."""
        with self._deliver:
            self._face.set_coding(self._coding)

    def opened(self) -> None:
        """A client opened the tty: DTR and RTS are sent whether they change or not, but not at B0."""
        with self._deliver:
            with self._io:
                self._opens += 1
            if not self._hung_up:
                self._send_lines(TIOCM_DTR | TIOCM_RTS)

    def closed(self) -> None:
        """A client closed the tty."""
        with self._deliver:
            self.drain()
            with self._io:
                self._opens = max(0, self._opens - 1)
                last = self._opens == 0 and not self._closed
                if last:
                    self._backlog.clear()
                    hang_up = _forget_last_user(self.slave)
            if last and hang_up:
                self._send_lines(0)

    # Settings, as the ioctls of clients change them.

    def set_termios(self, structure: bytes) -> None:
        """SET_LINE_CODING goes out only when the line changes; B0 drops DTR instead, the next speed raises it."""
        wanted = LineCoding.of_termios(structure, self._coding)
        (flags,) = struct.unpack_from("=I", structure, CFLAG)
        with self._deliver:
            self.drain()
            self.kept_flags = flags & NOT_A_PTYS
            if wanted.baud == 0:
                wanted = replace(wanted, baud=self._coding.baud)
                self._hung_up = True
                self.set_lines(self._lines & ~TIOCM_DTR)
            elif self._hung_up:
                self._hung_up = False
                self.set_lines(self._lines | TIOCM_DTR)
            if wanted != self._coding:
                self._coding = wanted
                self._face.set_coding(wanted)

    @property
    def lines(self) -> int:
        """TIOCMGET: cdc_acm always reports CTS."""
        return self._lines | TIOCM_CTS

    def set_lines(self, lines: int) -> None:
        """TIOCMSET: DTR and RTS reach the board when they change."""
        with self._deliver:
            self.drain()
            lines &= TIOCM_DTR | TIOCM_RTS
            if lines != self._lines:
                self._send_lines(lines)

    def _send_lines(self, lines: int) -> None:
        self._lines = lines
        self._face.modem_lines(bool(lines & TIOCM_DTR), bool(lines & TIOCM_RTS))


def _open_pty() -> tuple[int, int, Path]:
    master = os.open(RACK_PTS / "ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC | os.O_NONBLOCK)
    fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
    (number,) = struct.unpack("I", fcntl.ioctl(master, _TIOCGPTN, bytes(4)))
    pts = RACK_PTS / str(number)
    # An open slave keeps the master from reading EIO before the first client comes.
    return master, os.open(pts, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC), pts


def _as_fresh_serial_port(slave: int) -> None:
    settings = termios.tcgetattr(slave)
    settings[2] |= termios.HUPCL | termios.CLOCAL | termios.CREAD
    settings[4] = settings[5] = termios.B9600
    termios.tcsetattr(slave, termios.TCSANOW, settings)


def _forget_last_user(slave: int) -> bool:
    """What the last close of a real tty does: unread input and exclusive use end. Returns HUPCL."""
    termios.tcflush(slave, termios.TCIFLUSH)
    fcntl.ioctl(slave, termios.TIOCNXCL)
    return bool(termios.tcgetattr(slave)[2] & termios.HUPCL)
