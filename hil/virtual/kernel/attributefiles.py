"""The files of sysfs whose writes mean something, each a file of a small FUSE mount that is bound where it belongs.

All other files of the private /sys lie on its tmpfs, which a reader gets without waking the rack.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import struct
import threading
from pathlib import Path

from hil.virtual.kernel import linux
from hil.virtual.kernel.control import Control
from hil.virtual.kernel.fuse import DirectoryEntry, FuseServer, Inode, Request

_log = logging.getLogger(__name__)
_ROOT = 1
_FIRST_FILE = 2
_SIZE = 4096  # of every attribute, as sysfs says it
_WRITE_HEADER = 40


class AttributeFiles(FuseServer):
    """Reads are answered without the kernel's lock. A write runs on a thread of its own, for it may plug and unplug."""

    def __init__(self, mountpoint: Path = Path("/dev/.racksys")) -> None:
        super().__init__(mountpoint)
        self._lock = threading.Lock()
        self._controls: dict[int, Control] = {}
        self._shown: dict[Path, int] = {}
        self._next = _FIRST_FILE

    def start(self) -> None:
        self._mountpoint.mkdir()
        super().start()

    def stop(self) -> None:
        self.hide_below(Path("/"))  # a mount ends with its last place
        super().stop()

    def show(self, target: Path, control: Control) -> None:
        """``control`` appears at ``target``, in place of what is there."""
        with self._lock:
            number, self._next = self._next, self._next + 1
            self._controls[number] = control
            self._shown[target] = number
        if not target.exists():
            target.touch()
        linux.mount(str(self._mountpoint / str(number)), str(target), None, linux.MS_BIND)

    def hide_below(self, directory: Path) -> None:
        """What was shown in ``directory`` and below goes."""
        with self._lock:
            gone = [target for target in self._shown if target.is_relative_to(directory)]
            for target in gone:
                self._controls.pop(self._shown.pop(target))
        for target in gone:
            linux.unmount(str(target))
            with contextlib.suppress(PermissionError):  # one of the real sysfs stays
                target.unlink()

    # What the mount answers.

    def inode(self, number: int) -> Inode:
        if number == _ROOT:
            return Inode(number, True)
        control = self._control(number)
        return Inode(number, False, _SIZE, control.permissions if control else 0)

    def entries(self, directory: int) -> list[DirectoryEntry]:
        if directory != _ROOT:
            raise OSError(errno.ENOTDIR, str(directory))
        with self._lock:
            numbers = list(self._controls)
        return [DirectoryEntry(str(number), self.inode(number)) for number in numbers]

    def open(self, inode: int, flags: int) -> int:
        control = self._control(inode)
        if control is None:
            raise OSError(errno.ENODEV, str(inode))
        writing, reading = flags & os.O_ACCMODE != os.O_RDONLY, flags & os.O_ACCMODE != os.O_WRONLY
        if (writing and not control.permissions & 0o200) or (reading and control.read is None):
            raise OSError(errno.EACCES, str(inode))
        return inode

    def read(self, handle: int, offset: int, length: int) -> bytes:
        control = self._control(handle)
        if control is None or control.read is None:
            raise OSError(errno.ENODEV, str(handle))
        return control.read().encode()[offset : offset + length]

    def write(self, request: Request) -> None:
        threading.Thread(target=self._write_to, args=(request,), name="sysfs-write", daemon=True).start()

    def _write_to(self, request: Request) -> None:
        handle, _offset, size = struct.unpack_from("<QQI", request.body)
        text = request.body[_WRITE_HEADER : _WRITE_HEADER + size].decode(errors="replace")
        control = self._control(handle)
        try:
            if control is None:
                raise OSError(errno.ENODEV, str(handle))
            control.write(text.rstrip("\n\0"))
        except OSError as error:
            self.reply_error(request.unique, error.errno or errno.EIO)
        except Exception:
            _log.exception("writing %r to sysfs", text)
            self.reply_error(request.unique, errno.EIO)
        else:
            self.reply_write(request.unique, size)

    def _control(self, number: int) -> Control | None:
        with self._lock:
            return self._controls.get(number)
