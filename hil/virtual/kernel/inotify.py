"""Counts opens and closes of files: how the rack learns that somebody opened or closed a tty (inotify(7))."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from pathlib import Path

IN_CLOSE = 0x08 | 0x10
IN_OPEN = 0x20
_IN_NONBLOCK, _IN_CLOEXEC = os.O_NONBLOCK, os.O_CLOEXEC
_EVENT = struct.Struct("iIII")
_libc = ctypes.CDLL(None, use_errno=True)


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

    def remove(self, watch: int) -> None:
        """No event of ``watch`` follows those already queued."""
        _libc.inotify_rm_watch(self.fd, watch)

    def read(self) -> list[tuple[int, bool]]:
        """(watch, opened) of each open (True) and close (False) since the last call, in order."""
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
            if mask & (IN_OPEN | IN_CLOSE):
                found.append((watch, bool(mask & IN_OPEN)))
        return found

    def close(self) -> None:
        os.close(self.fd)
