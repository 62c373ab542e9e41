"""Numbers and structures of the usbfs interface on 64-bit Linux (linux/usbdevice_fs.h)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum, IntFlag

URB_SIZE = 56
URB_STATUS_OFFSET = 4
URB_ACTUAL_LENGTH_OFFSET = 28
DRIVER_NAME_SIZE = 256
PAGE_SIZE = 4096
MAX_LENGTH = 0x7FFFFFFF - 1_000_000  # of one transfer, and MAX_TRANSFER the memory for it (usbfs_memory_mb)
MAX_TRANSFER = 16 * 1024 * 1024
MOST_INTERFACES = 64  # claims are the bits of an unsigned long
MOST_ENDPOINTS = 30  # that one request for streams may name
SI_ASYNCIO = -4  # si_code of the signals that usbfs sends


class Ioctl(IntEnum):
    """Requests by number."""

    CONTROL = 0xC0185500
    BULK = 0xC0185502
    RESETEP = 0x80045503
    SETINTERFACE = 0x80085504
    SETCONFIGURATION = 0x80045505
    GETDRIVER = 0x41045508
    SUBMITURB = 0x8038550A
    DISCARDURB = 0x0000550B
    REAPURB = 0x4008550C
    REAPURBNDELAY = 0x4008550D
    DISCSIGNAL = 0x8010550E
    CLAIMINTERFACE = 0x8004550F
    RELEASEINTERFACE = 0x80045510
    CONNECTINFO = 0x40085511
    IOCTL = 0xC0105512
    RESET = 0x00005514
    CLEAR_HALT = 0x80045515
    CLAIM_PORT = 0x80045518
    RELEASE_PORT = 0x80045519
    GET_CAPABILITIES = 0x8004551A
    DISCONNECT_CLAIM = 0x8108551B
    ALLOC_STREAMS = 0x8008551C
    FREE_STREAMS = 0x8008551D
    DROP_PRIVILEGES = 0x4004551E
    GET_SPEED = 0x0000551F
    FORBID_SUSPEND = 0x00005521
    ALLOW_SUSPEND = 0x00005522
    WAIT_FOR_RESUME = 0x00005523


CONNINFO_EX = 0x80005520  # and the caller's size in the bits of ``SIZE_MASK``
SIZE_MASK, SIZE_SHIFT = 0x3FFF0000, 16
IOCTL_DISCONNECT = 0x5516  # inner requests of Ioctl.IOCTL
IOCTL_CONNECT = 0x5517
HUB_PORTINFO = 0x80805513
HUB_PORTINFO_SIZE = 128
CONNINFO_EX_SIZE = 24


class Capability(IntFlag):
    """GET_CAPABILITIES: what a host controller of the xhci kind has, but MMAP (0x20), which FUSE cannot give."""

    ZERO_PACKET = 0x01
    NO_PACKET_SIZE_LIM = 0x04
    BULK_SCATTER_GATHER = 0x08
    REAP_AFTER_DISCONNECT = 0x10
    DROP_PRIVILEGES = 0x40
    CONNINFO_EX = 0x80
    SUSPEND = 0x100


class DisconnectClaim(IntFlag):
    """Flags of DISCONNECT_CLAIM."""

    IF_DRIVER = 0x01
    EXCEPT_DRIVER = 0x02


class UrbType(IntEnum):
    """``type`` of an URB."""

    ISO = 0
    INTERRUPT = 1
    CONTROL = 2
    BULK = 3


URB_SHORT_NOT_OK, URB_ISO_ASAP = 0x01, 0x02
URB_KNOWN_FLAGS = 0x01 | 0x04 | 0x20 | 0x40 | 0x80

SPEEDS = {"1.5": 1, "12": 2, "480": 3, "5000": 5}


@dataclass(slots=True)
class Urb:
    """One transfer under way or done. ``address`` is where the client keeps its structure: its identity.

    ``signal`` is the number of the signal that the client wants at the end, 0 for none; ``on_done`` sends it.
    """

    address: int
    type: int
    endpoint: int
    flags: int
    buffer: int
    length: int
    signal: int = 0
    interface: int = -1
    status: int = 0
    actual: int = 0
    data: bytes = b""
    on_done: Callable[[int], None] | None = None

    @classmethod
    def parse(cls, address: int, raw: bytes) -> Urb:
        """From the client's ``usbdevfs_urb``."""
        kind, endpoint, flags, buffer, length, signal = struct.unpack_from("<BB2x4xI4xQi16xI", raw)
        return cls(address, kind, endpoint, flags, buffer, length, signal)

    @property
    def is_in(self) -> bool:
        return bool(self.endpoint & 0x80)

    def finish(self, status: int, data: bytes = b"", actual: int | None = None) -> None:
        """``data`` goes to the client's buffer when it reaps the URB."""
        self.status = status
        self.data = data
        self.actual = len(data) if actual is None else actual


@dataclass(frozen=True, slots=True)
class BulkTransfer:
    """Argument of the synchronous BULK request; ``timeout`` in ms, 0 for ever."""

    endpoint: int
    length: int
    timeout: int
    buffer: int

    @classmethod
    def parse(cls, raw: bytes) -> BulkTransfer:
        return cls(*struct.unpack("<III4xQ", raw[:24]))
