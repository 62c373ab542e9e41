"""Lets the rack answer or watch the tty ioctls of its clients while they wait (seccomp user notification).

A pty knows neither baud rate changes nor modem lines; here they are seen synchronously, a touch at 14400 baud included.
Facts: virtual rack fact sheet 2b; linux/seccomp.h.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import select
import struct
import threading
from dataclasses import dataclass
from typing import Self

from hil.virtual.kernel import linux
from hil.virtual.kernel.tty import Tty
from hil.virtual.kernel.ttyhub import TtyHub

_log = logging.getLogger(__name__)

TCSETS = (0x5402, 0x5403, 0x5404)
TCSETS2 = (0x402C542B, 0x402C542C, 0x402C542D)
TIOCMGET, TIOCMBIS, TIOCMBIC, TIOCMSET = 0x5415, 0x5416, 0x5417, 0x5418
WATCHED = (*TCSETS, *TCSETS2, TIOCMGET, TIOCMBIS, TIOCMBIC, TIOCMSET)

_RECEIVE, _SEND, _ID_VALID = 0xC0502100, 0xC0182101, 0x40082102
_NOTIFICATION = struct.Struct("=QIIiIQ6Q")
_CONTINUE = 1
_CBAUD, _BOTHER = 0o010017, 0o010000
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _NOTIFY = 0x7FFF0000, 0x7FC00000
_OFFSET_NUMBER, _OFFSET_ARCH, _OFFSET_REQUEST = 0, 4, 24
# Codes of <asm/termbits.h> -> bit/s.
_LOW_SPEEDS = (0, 50, 75, 110, 134, 150, 200, 300, 600, 1200, 1800, 2400, 4800, 9600, 19200, 38400)
_HIGH_SPEEDS = (57600, 115200, 230400, 460800, 500000, 576000, 921600, 1000000, 1152000, 1500000, 2000000)
_SPEEDS = dict(enumerate(_LOW_SPEEDS)) | dict(enumerate(_HIGH_SPEEDS, start=0o10001))


def filter_program() -> bytes:
    """BPF: notify for ioctl with a watched request, allow all else."""
    machine = linux.machine()
    count = len(WATCHED)
    code = [
        (_LOAD, 0, 0, _OFFSET_ARCH),
        (_JUMP_IF_EQUAL, 0, count + 3, machine.audit_arch),
        (_LOAD, 0, 0, _OFFSET_NUMBER),
        (_JUMP_IF_EQUAL, 0, count + 1, machine.ioctl),
        (_LOAD, 0, 0, _OFFSET_REQUEST),
    ]
    code += [(_JUMP_IF_EQUAL, count - index, 0, request) for index, request in enumerate(WATCHED)]
    code += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _NOTIFY)]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def baud_of(termios: bytes, *, second_form: bool) -> int | None:
    """Bit rate in a client's ``struct termios`` (or ``termios2``); ``None`` when it says "as before"."""
    (code,) = struct.unpack_from("=I", termios, 8)
    code &= _CBAUD
    if code != _BOTHER:
        return _SPEEDS.get(code)
    if not second_form:
        return None
    (speed,) = struct.unpack_from("=I", termios, 40)
    return int(speed)


@dataclass(frozen=True, slots=True)
class Call:
    """A client's ioctl that waits for an answer."""

    id: int
    pid: int
    descriptor: int
    request: int
    argument: int

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        id_, pid, _flags, _number, _arch, _ip, descriptor, request, argument, *_ = _NOTIFICATION.unpack(raw)
        return cls(id_, pid, descriptor & 0xFFFFFFFF, request & 0xFFFFFFFF, argument)


class TtyCalls:
    """Answers the calls of every client; one thread for each client's listener."""

    def __init__(self, hub: TtyHub) -> None:
        self._hub = hub

    def serve(self, listener: int) -> None:
        """Takes over the descriptor ``listener`` until its last client has gone."""
        threading.Thread(target=self._run, args=(listener,), name="tty-calls", daemon=True).start()

    def _run(self, listener: int) -> None:
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        try:
            while True:
                events = poll.poll()[0][1]
                if events & select.POLLIN:
                    self._one(listener)
                elif events & (select.POLLHUP | select.POLLERR):
                    return
        finally:
            os.close(listener)

    def _one(self, listener: int) -> None:
        raw = bytearray(_NOTIFICATION.size)
        try:
            fcntl.ioctl(listener, _RECEIVE, raw)
        except OSError:
            return  # the client was killed before we came to it
        call = Call.parse(bytes(raw))
        error, flags = 0, _CONTINUE
        try:
            tty = self._tty_of(call)
            if tty is not None and self._still_waits(listener, call) and self._handle(tty, call):
                flags = 0
        except OSError as trouble:
            error, flags = -(trouble.errno or errno.EIO), 0
        except Exception:
            _log.exception("a board failed in tty request %#x", call.request)
        try:
            fcntl.ioctl(listener, _SEND, struct.pack("=QqiI", call.id, 0, error, flags))
        except OSError as trouble:
            if trouble.errno != errno.ENOENT:
                raise

    def _tty_of(self, call: Call) -> Tty | None:
        try:
            status = os.stat(f"/proc/{call.pid}/fd/{call.descriptor}")
        except OSError:
            return None
        return self._hub.find((status.st_dev, status.st_ino))

    @staticmethod
    def _still_waits(listener: int, call: Call) -> bool:
        """False when the client died and its pid may be another's by now."""
        try:
            fcntl.ioctl(listener, _ID_VALID, struct.pack("=Q", call.id))
        except OSError:
            return False
        return True

    def _handle(self, tty: Tty, call: Call) -> bool:
        """True when the call is answered here, False when the pty shall do its part too."""
        self._hub.catch_up()
        if call.request in (*TCSETS, *TCSETS2):
            second = call.request in TCSETS2
            baud = baud_of(
                linux.read_memory(call.pid, call.argument, 44 if second else 36), second_form=second
            )
            if baud is not None:
                tty.set_baud(baud)
            return False
        if call.request == TIOCMGET:
            linux.write_memory(call.pid, call.argument, struct.pack("=i", tty.lines))
            return True
        (bits,) = struct.unpack("=I", linux.read_memory(call.pid, call.argument, 4))
        now = tty.lines
        tty.set_lines({TIOCMBIS: now | bits, TIOCMBIC: now & ~bits, TIOCMSET: bits}[call.request])
        return True
