"""Opens and closes of files: how the rack learns who uses a tty, and that nobody has it any more (inotify(7)).

Events alike that follow each other unread become one: whoever counts them learns little, and so a file that is deleted
is known to be closed by all only when its inode goes.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from enum import Enum
from pathlib import Path

IN_CLOSE = 0x08 | 0x10
_IN_IGNORED = 0x8000
IN_OPEN = 0x20
_IN_NONBLOCK, _IN_CLOEXEC = os.O_NONBLOCK, os.O_CLOEXEC
_EVENT = struct.Struct("iIII")
_libc = ctypes.CDLL(None, use_errno=True)


class Change(Enum):
    """What happened to a file; ``GONE`` when it was deleted and nobody has it open any more."""

    OPENED = 1
    CLOSED = 2
    GONE = 3


_CHANGES = {IN_OPEN: Change.OPENED, IN_CLOSE: Change.CLOSED, _IN_IGNORED: Change.GONE}


class Inotify:
    """Watches for opens and closes. ``fd`` is readable when there is something."""

    def __init__(self) -> None:
        self.fd = _libc.inotify_init1(_IN_NONBLOCK | _IN_CLOEXEC)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1: user.max_inotify_instances reached?")

    def add(self, path: Path) -> int:
        """Begins to watch; returns the watch's number."""
        watch = _libc.inotify_add_watch(self.fd, os.fsencode(path), IN_OPEN | IN_CLOSE)
        if watch < 0:
            raise OSError(ctypes.get_errno(), f"inotify_add_watch {path}")
        return int(watch)

    def read(self) -> list[tuple[int, Change]]:
        """Watch and change of each event since the last call, in order. After ``GONE`` the watch is over."""
        try:
            data = os.read(self.fd, 64 * 1024)
        except OSError as error:
            if error.errno == errno.EAGAIN:
                return []
            raise
        found = []
        offset = 0
        while offset < len(data):
            watch, mask, _, length = _EVENT.unpack_from(data, offset)
            offset += _EVENT.size + length
            for bits, change in _CHANGES.items():
                if mask & bits:
                    found.append((watch, change))
        return found

    def close(self) -> None:
        os.close(self.fd)
