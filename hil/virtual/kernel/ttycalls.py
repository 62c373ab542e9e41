"""What cdc_acm answers to the ioctls of its ttys that a pty answers otherwise or not at all.

Facts: drivers/usb/class/cdc-acm.c and drivers/tty/tty_io.c. A board's descriptors offer no break, and none of them ever
reports a change of DSR, carrier or ring: the counters stay 0.
"""

from __future__ import annotations

import errno
import fcntl
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Self

from hil.virtual.kernel import linecoding, linux
from hil.virtual.kernel.tty import Later, Tty

_NOTIFICATION = struct.Struct("=QIIiIQ6Q")
NOTIFICATION_SIZE = _NOTIFICATION.size
_CARRIER = 0x040  # TIOCM_CAR
_COUNTERS = bytes(80)  # struct serial_icounter_struct
# struct serial_struct: the line's number, and delays in hundredths of a second.
_SERIAL, _LINE, _CLOSE_DELAY, _CLOSING_WAIT = 72, 4, 32, 40
_DELAYS = 50, 3000


class TtyIoctl(IntEnum):
    """Requests by number (asm-generic/ioctls.h)."""

    TCGETS = 0x5401
    TCSETS = 0x5402
    TCSETSW = 0x5403
    TCSETSF = 0x5404
    TIOCMGET = 0x5415
    TIOCMBIS = 0x5416
    TIOCMBIC = 0x5417
    TIOCMSET = 0x5418
    TIOCGSERIAL = 0x541E
    TIOCSSERIAL = 0x541F
    TIOCSBRK = 0x5427
    TIOCCBRK = 0x5428
    TIOCMIWAIT = 0x545C
    TIOCGICOUNT = 0x545D
    TCGETS2 = 0x802C542A
    TCSETS2 = 0x402C542B
    TCSETSW2 = 0x402C542C
    TCSETSF2 = 0x402C542D


WATCHED = tuple(TtyIoctl)
_SET_TERMIOS = {
    TtyIoctl.TCSETS: linecoding.TERMIOS_SIZE,
    TtyIoctl.TCSETSW: linecoding.TERMIOS_SIZE,
    TtyIoctl.TCSETSF: linecoding.TERMIOS_SIZE,
    TtyIoctl.TCSETS2: linecoding.TERMIOS2_SIZE,
    TtyIoctl.TCSETSW2: linecoding.TERMIOS2_SIZE,
    TtyIoctl.TCSETSF2: linecoding.TERMIOS2_SIZE,
}
_GET_TERMIOS = {
    TtyIoctl.TCGETS: linecoding.TERMIOS_SIZE,
    TtyIoctl.TCGETS2: linecoding.TERMIOS2_SIZE,
}


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


def handle(tty: Tty, call: Call, later: Later) -> bool | None:
    """True when the call is answered, False when the pty shall do its part too, ``None`` when ``later`` will end it.

    Raises ``OSError`` with the errno that the client gets.
    """
    request = call.request
    if request in _SET_TERMIOS:
        tty.set_termios(linux.read_memory(call.pid, call.argument, _SET_TERMIOS[TtyIoctl(request)]))
        return False
    if request in _GET_TERMIOS:
        _get_termios(tty, call, _GET_TERMIOS[TtyIoctl(request)])
    elif request == TtyIoctl.TIOCMGET:
        linux.write_memory(call.pid, call.argument, struct.pack("=i", tty.lines))
    elif request in (TtyIoctl.TIOCMBIS, TtyIoctl.TIOCMBIC, TtyIoctl.TIOCMSET):
        _set_lines(tty, call)
    elif request == TtyIoctl.TIOCGICOUNT:
        linux.write_memory(call.pid, call.argument, _COUNTERS)
    elif request == TtyIoctl.TIOCGSERIAL:
        linux.write_memory(call.pid, call.argument, _serial_of(tty))
    elif request == TtyIoctl.TIOCSSERIAL:
        _set_serial(call)
    elif request == TtyIoctl.TIOCMIWAIT:
        # Nothing changes until the board goes, which a waiter for the carrier takes for its change.
        tty.when_gone(later, 0 if call.argument & _CARRIER else errno.ENODEV)
        return None
    else:
        raise OSError(errno.EOPNOTSUPP, "no break")
    return True


def _get_termios(tty: Tty, call: Call, size: int) -> None:
    """The pty's own, but for the bits that it cannot keep."""
    request = TtyIoctl.TCGETS if size == linecoding.TERMIOS_SIZE else TtyIoctl.TCGETS2
    found = bytearray(fcntl.ioctl(tty.slave, request, bytes(size)))
    (flags,) = struct.unpack_from("=I", found, linecoding.CFLAG)
    struct.pack_into("=I", found, linecoding.CFLAG, flags & ~linecoding.NOT_A_PTYS | tty.kept_flags)
    linux.write_memory(call.pid, call.argument, bytes(found))


def _set_lines(tty: Tty, call: Call) -> None:
    (bits,) = struct.unpack("=I", linux.read_memory(call.pid, call.argument, 4))
    now = tty.lines
    changed = {TtyIoctl.TIOCMBIS: now | bits, TtyIoctl.TIOCMBIC: now & ~bits, TtyIoctl.TIOCMSET: bits}
    tty.set_lines(changed[TtyIoctl(call.request)])


def _serial_of(tty: Tty) -> bytes:
    found = bytearray(_SERIAL)
    struct.pack_into("=i", found, _LINE, int(tty.path.name.removeprefix("ttyACM")))
    struct.pack_into("=H", found, _CLOSE_DELAY, _DELAYS[0])
    struct.pack_into("=H", found, _CLOSING_WAIT, _DELAYS[1])
    return bytes(found)


def _set_serial(call: Call) -> None:
    """Low latency and the like are taken and mean nothing; delays are for who has CAP_SYS_ADMIN, and no client has."""
    raw = linux.read_memory(call.pid, call.argument, _SERIAL)
    delays = struct.unpack_from("=H", raw, _CLOSE_DELAY) + struct.unpack_from("=H", raw, _CLOSING_WAIT)
    if delays != _DELAYS:
        raise OSError(errno.EPERM, "delays of a close")
