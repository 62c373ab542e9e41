"""A tty as cdc_acm gives it: a pty of the rack's own devpts, bound to /dev/ttyACMn.

As the real driver: starts at 9600 8N1, cooked, with echo; DTR and RTS go up at the first open and, with HUPCL, down at
the last close; what the board sends while nobody has the tty open is lost; an unplug hangs it up.
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
from pathlib import Path

from hil.virtual.kernel import linux
from hil.virtual.kernel.namespaces import RACK_PTS
from hil.virtual.kernel.usbdevice import SerialFace

TIOCM_DTR, TIOCM_RTS, TIOCM_CTS = 0x002, 0x004, 0x020
_TIOCSPTLCK, _TIOCGPTN = 0x40045431, 0x80045430
_BACKLOG_LIMIT = 64 * 1024
_CHUNK = 4096


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
        self._baud = 9600
        self.master, self._slave, self.pts = _open_pty()
        self._closed = False
        _as_fresh_serial_port(self._slave)
        status = os.fstat(self._slave)
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
            os.close(self._slave)

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

    def opened(self) -> None:
        """A client opened the tty."""
        with self._deliver:
            with self._io:
                self._opens += 1
                first = self._opens == 1
            if first:
                self.set_lines(TIOCM_DTR | TIOCM_RTS)

    def closed(self) -> None:
        """A client closed the tty."""
        with self._deliver:
            self.drain()
            with self._io:
                self._opens = max(0, self._opens - 1)
                last = self._opens == 0 and not self._closed
                if last:
                    self._backlog.clear()
                    hang_up = _forget_last_user(self._slave)
            if last and hang_up:
                self.set_lines(0)

    # Settings, as the ioctls of clients change them.

    def set_baud(self, baud: int) -> None:
        """SET_LINE_CODING goes out only when the line changes; B0 drops DTR instead."""
        with self._deliver:
            self.drain()
            if baud == 0:
                self.set_lines(self._lines & ~TIOCM_DTR)
            elif baud != self._baud:
                self._baud = baud
                self._face.line_coding(baud)

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
