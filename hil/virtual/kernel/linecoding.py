"""How a serial line is set: what SET_LINE_CODING carries, and how a ``struct termios`` says it (asm/termbits.h).

Facts: USB CDC PSTN 1.2, table 17; acm_tty_set_termios of drivers/usb/class/cdc-acm.c.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Self

_CBAUD, _BOTHER = 0o010017, 0o010000
_CSIZE, _CSTOPB, CREAD, _PARENB, _PARODD, _CMSPAR = 0x30, 0x40, 0x80, 0x100, 0x200, 0x40000000
# What a pty sets to its own liking, whatever it is told.
NOT_A_PTYS = _CSIZE | _PARENB | CREAD
CFLAG = 8  # offset of c_cflag
TERMIOS_SIZE, TERMIOS2_SIZE = 36, 44
_OSPEED = 40
_WIRE = struct.Struct("<IBBB")
# Codes of <asm/termbits.h> -> bit/s.
_LOW_SPEEDS = (0, 50, 75, 110, 134, 150, 200, 300, 600, 1200, 1800, 2400, 4800, 9600, 19200, 38400)
_HIGH_SPEEDS = (57600, 115200, 230400, 460800, 500000, 576000, 921600, 1000000, 1152000, 1500000, 2000000)
_HIGHEST_SPEEDS = (2500000, 3000000, 3500000, 4000000)
_SPEEDS = dict(enumerate(_LOW_SPEEDS)) | dict(enumerate(_HIGH_SPEEDS + _HIGHEST_SPEEDS, start=0o10001))


@dataclass(frozen=True, slots=True)
class LineCoding:
    """``baud`` in bit/s; ``stop_bits`` 0 for one, 1 for one and a half, 2 for two; ``parity`` an index of "NOEMS"."""

    baud: int = 9600
    stop_bits: int = 0
    parity: int = 0
    data_bits: int = 8

    SIZE = _WIRE.size

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """From the data of SET_LINE_CODING, at least ``SIZE`` bytes."""
        return cls(*_WIRE.unpack_from(raw))

    def encode(self) -> bytes:
        """As GET_LINE_CODING answers."""
        return _WIRE.pack(self.baud, self.stop_bits, self.parity, self.data_bits)

    def __str__(self) -> str:
        parity = "NOEMS"[self.parity] if self.parity < 5 else "?"
        stop = ("1", "1.5", "2")[self.stop_bits] if self.stop_bits < 3 else "?"
        return f"{self.baud} {self.data_bits}{parity}{stop}"

    @classmethod
    def of_termios(cls, termios: bytes, before: LineCoding) -> LineCoding:
        """What a client's ``struct termios`` or ``termios2`` asks for; ``baud`` 0 means to hang up.

        ``before`` gives the speed where the structure says "as before".
        """
        (flags,) = struct.unpack_from("=I", termios, CFLAG)
        parity = 0
        if flags & _PARENB:
            parity = (1 if flags & _PARODD else 2) + (2 if flags & _CMSPAR else 0)
        stop_bits = 2 if flags & _CSTOPB else 0
        baud = _baud_of(termios, flags)
        return cls(before.baud if baud is None else baud, stop_bits, parity, 5 + ((flags & _CSIZE) >> 4))


def _baud_of(termios: bytes, flags: int) -> int | None:
    code = flags & _CBAUD
    if code != _BOTHER:
        return _SPEEDS.get(code)
    if len(termios) < TERMIOS2_SIZE:
        return None
    (speed,) = struct.unpack_from("=I", termios, _OSPEED)
    return int(speed)
