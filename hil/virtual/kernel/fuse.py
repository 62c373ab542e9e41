"""The FUSE protocol on /dev/fuse: reads requests, answers them, mounts and unmounts (linux/fuse.h, version 7.31).

A file system subclasses ``FuseServer`` and answers operations; nothing here knows what it serves.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from hil.virtual.kernel import linux
from hil.virtual.kernel.trouble import step

_log = logging.getLogger(__name__)

_HEADER = struct.Struct("<IIQQIIII")
_READ_SIZE = 256 * 1024
_MAX_WRITE = 64 * 1024
_WORKERS = 4
_NOTIFY_POLL = 1
_OPEN_DIRECT = 1
_FS_BLOCK = 4096


class Op(IntEnum):
    """Operations that are answered; others get ENOSYS."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    SETATTR = 4
    OPEN = 14
    READ = 15
    WRITE = 16
    STATFS = 17
    RELEASE = 18
    FSYNC = 20
    FLUSH = 25
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    ACCESS = 34
    INTERRUPT = 36
    IOCTL = 39
    POLL = 40
    BATCH_FORGET = 42


@dataclass(frozen=True, slots=True)
class Request:
    """One request. ``pid`` is the calling thread; ``body`` what follows the header."""

    op: int
    unique: int
    inode: int
    pid: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Inode:
    """A directory or a file, owned by this process's user. ``permissions`` are those of a file."""

    number: int
    is_directory: bool
    size: int = 0
    permissions: int = 0o664


@dataclass(frozen=True, slots=True)
class DirectoryEntry:
    name: str
    inode: Inode


class FuseServer:
    """A mounted file system. ``stop`` ends its threads; the kernel ends it when this process dies."""

    def __init__(self, mountpoint: Path) -> None:
        self._mountpoint = mountpoint
        with step("open /dev/fuse"):
            self._fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        self._since = int(time.time())
        self._threads: list[threading.Thread] = []
        self._under_way: dict[int, int] = {}  # thread: request
        self._handlers: dict[int, Callable[[Request], bytes]] = {
            Op.INIT: self._init,
            Op.LOOKUP: self._lookup,
            Op.GETATTR: self._getattr,
            Op.SETATTR: self._getattr,  # who opens for writing may cut the file before
            Op.OPENDIR: lambda _request: struct.pack("<QII", 0, 0, 0),
            Op.READDIR: self._readdir,
            Op.STATFS: lambda _request: struct.pack(
                "<QQQQQIIII24x", 0, 0, 0, 0, 0, _FS_BLOCK, 255, _FS_BLOCK, 0
            ),
            Op.OPEN: self._open,
            Op.READ: self._read,
            Op.FSYNC: _not_for_this_file,
            Op.RELEASE: self._release,
            Op.POLL: self._poll,
            Op.FLUSH: lambda _request: b"",
            Op.RELEASEDIR: lambda _request: b"",
            Op.ACCESS: lambda _request: b"",
        }

    # What a file system answers; each may raise ``OSError``.

    def inode(self, number: int) -> Inode:
        raise OSError(errno.ENOENT, str(number))

    def entries(self, directory: int) -> list[DirectoryEntry]:
        raise OSError(errno.ENOTDIR, str(directory))

    def open(self, inode: int, flags: int) -> int:
        """Returns a handle."""
        raise OSError(errno.EACCES, f"{inode} {flags}")

    def read(self, handle: int, offset: int, length: int) -> bytes:
        raise OSError(errno.EINVAL, f"{handle} {offset} {length}")

    def release(self, handle: int) -> None:
        """The last descriptor of ``handle`` is closed."""

    def poll(self, handle: int, wakeup: int) -> int:
        """Returns poll(2) events; remembers ``wakeup`` for ``notify_poll``."""
        raise OSError(errno.EINVAL, f"{handle} {wakeup}")

    def ioctl(self, request: Request) -> None:
        """Answers by ``reply_ioctl`` or ``reply_error``, now or later."""
        self.reply_error(request.unique, errno.ENOTTY)

    def write(self, request: Request) -> None:
        """Answers by ``reply_write`` or ``reply_error``, now or later."""
        self.reply_error(request.unique, errno.EINVAL)

    def interrupt(self, unique: int) -> bool:
        """A signal reached the caller of ``unique``. False when that request has not begun."""
        return bool(unique)

    # Life.

    def start(self) -> None:
        """Mounts and serves."""
        options = f"fd={self._fd},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()},allow_other"
        with step(f"mount fuse on {self._mountpoint}"):
            linux.mount("vusb", str(self._mountpoint), "fuse", linux.MS_NOSUID | linux.MS_NODEV, options)
        for number in range(_WORKERS):
            name = f"{self._mountpoint.name}-{number}"
            thread = threading.Thread(target=self._serve, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Unmounts; clients that still hold files get errors once this process has gone."""
        with contextlib.suppress(OSError):
            linux.unmount(str(self._mountpoint))
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(timeout=1)

    @property
    def under_way(self) -> frozenset[int]:
        """The requests that are being answered; one that stays among them keeps its caller from ever ending."""
        return frozenset(self._under_way.copy().values())

    # Answers.

    def reply(self, unique: int, body: bytes = b"") -> None:
        self._write(struct.pack("<IiQ", 16 + len(body), 0, unique) + body)

    def reply_error(self, unique: int, number: int) -> None:
        self._write(struct.pack("<IiQ", 16, -number, unique))

    def reply_ioctl(self, unique: int, result: int) -> None:
        self.reply(unique, struct.pack("<iIII", result, 0, 0, 0))

    def reply_write(self, unique: int, count: int) -> None:
        self.reply(unique, struct.pack("<II", count, 0))

    def notify_poll(self, wakeup: int) -> None:
        """Wakes those who poll the file that ``wakeup`` came with."""
        self._write(struct.pack("<IiQQ", 24, _NOTIFY_POLL, 0, wakeup))

    def _write(self, message: bytes) -> None:
        # ENOENT: the caller was killed meanwhile. ENODEV: unmounted.
        with contextlib.suppress(OSError):
            os.write(self._fd, message)

    def _serve(self) -> None:
        while True:
            try:
                data = os.read(self._fd, _READ_SIZE)
            except OSError as error:
                if error.errno in (errno.EINTR, errno.ENOENT, errno.EAGAIN):
                    continue
                return
            if not data:
                return
            _, op, unique, inode, _, _, pid, _ = _HEADER.unpack_from(data)
            self._under_way[threading.get_ident()] = unique
            self._answer(Request(op, unique, inode, pid, data[_HEADER.size :]))
            self._under_way.pop(threading.get_ident())

    def _answer(self, request: Request) -> None:
        if request.op in (Op.FORGET, Op.BATCH_FORGET):
            return
        if request.op == Op.INTERRUPT:
            (target,) = struct.unpack_from("<Q", request.body)
            if not self.interrupt(target):
                self.reply_error(request.unique, errno.EAGAIN)
            return
        if request.op in (Op.IOCTL, Op.WRITE):
            (self.ioctl if request.op == Op.IOCTL else self.write)(request)
            return
        handler = self._handlers.get(request.op)
        if handler is None:
            self.reply_error(request.unique, errno.ENOSYS)
            return
        try:
            self.reply(request.unique, handler(request))
        except OSError as error:
            self.reply_error(request.unique, error.errno or errno.EIO)
        except Exception:
            # No answer would leave the caller waiting for ever.
            _log.exception("operation %d failed", request.op)
            self.reply_error(request.unique, errno.EIO)

    def _init(self, request: Request) -> bytes:
        _, _, readahead, _ = struct.unpack_from("<IIII", request.body)
        return struct.pack("<IIIIHHIIHHI28x", 7, 31, readahead, 0, 16, 12, _MAX_WRITE, 1, 32, 0, 0)

    def _getattr(self, request: Request) -> bytes:
        return struct.pack("<QII", 0, 0, 0) + self._attributes(self.inode(request.inode))

    def _attributes(self, inode: Inode) -> bytes:
        mode = stat.S_IFDIR | 0o755 if inode.is_directory else stat.S_IFREG | inode.permissions
        owner = os.getuid(), os.getgid()
        return struct.pack(
            "<6Q10I",
            inode.number,
            inode.size,
            0,
            *3 * (self._since,),
            0,
            0,
            0,
            mode,
            1,
            *owner,
            0,
            _FS_BLOCK,
            0,
        )

    def _lookup(self, request: Request) -> bytes:
        name = request.body.split(b"\0")[0].decode(errors="replace")
        for entry in self.entries(request.inode):
            if entry.name == name:
                head = struct.pack("<QQQQII", entry.inode.number, 0, 0, 0, 0, 0)
                return head + self._attributes(entry.inode)
        raise OSError(errno.ENOENT, name)

    def _readdir(self, request: Request) -> bytes:
        _, offset, size = struct.unpack_from("<QQI", request.body)
        here = Inode(request.inode, True)
        listed = [DirectoryEntry(".", here), DirectoryEntry("..", here), *self.entries(request.inode)]
        answer = b""
        for position, entry in enumerate(listed[offset:], start=offset + 1):
            name = entry.name.encode()
            kind = 4 if entry.inode.is_directory else 8
            record = struct.pack("<QQII", entry.inode.number, position, len(name), kind) + name
            record += b"\0" * (-len(record) % 8)
            if len(answer) + len(record) > size:
                break
            answer += record
        return answer

    def _open(self, request: Request) -> bytes:
        (flags,) = struct.unpack_from("<I", request.body)
        return struct.pack("<QII", self.open(request.inode, flags), _OPEN_DIRECT, 0)

    def _read(self, request: Request) -> bytes:
        return self.read(*struct.unpack_from("<QQI", request.body))

    def _release(self, request: Request) -> bytes:
        (handle,) = struct.unpack_from("<Q", request.body)
        self.release(handle)
        return b""

    def _poll(self, request: Request) -> bytes:
        handle, wakeup = struct.unpack_from("<QQ", request.body)
        return struct.pack("<II", self.poll(handle, wakeup), 0)


def _not_for_this_file(_request: Request) -> bytes:
    """fsync(2), which neither character devices nor sysfs have."""
    raise OSError(errno.EINVAL, "not for this file")
