"""/dev/bus/usb as a file system: a directory a bus, a file a device, ioctls answered by ``usbfs``.

Pointers in ioctl arguments are followed into the calling process's memory.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import select
import struct
import threading
from dataclasses import dataclass
from pathlib import Path

from hil.virtual.kernel import linux
from hil.virtual.kernel.attachment import Attachment
from hil.virtual.kernel.fuse import DirectoryEntry, FuseServer, Inode, Request
from hil.virtual.kernel.usbfs import UsbFile
from hil.virtual.kernel.usbfs_abi import SI_ASYNCIO
from hil.virtual.kernel.usbfs_transfers import Waiting

_log = logging.getLogger(__name__)

_ROOT = 1
_BUS_INODES = 0x100
_FIRST_DEVICE_INODE = 0x10000


@dataclass(frozen=True, slots=True)
class CallingProcess:
    """The process of thread ``pid``."""

    pid: int

    def read(self, address: int, length: int) -> bytes:
        return linux.read_memory(self.pid, address, length)

    def write(self, address: int, data: bytes) -> None:
        linux.write_memory(self.pid, address, data)

    def signal(self, number: int, error: int, address: int) -> None:
        with contextlib.suppress(OSError):  # it has ended
            linux.queue_signal(self.pid, number, error, SI_ASYNCIO, address)


@dataclass(slots=True)
class _Open:
    file: UsbFile
    attachment: Attachment
    inode: int
    wakeup: int | None = None


class DevUsb(FuseServer):
    """The mounted tree. Devices come and go by ``add`` and ``remove``."""

    def __init__(self, mountpoint: Path = Path("/dev/bus/usb"), bus: int = 1) -> None:
        super().__init__(mountpoint)
        self._bus = bus
        self._lock = threading.Lock()
        self._devices: dict[int, Attachment] = {}
        self._open_files: dict[int, _Open] = {}
        self._running: dict[int, tuple[UsbFile, Waiting]] = {}
        self._next_inode = _FIRST_DEVICE_INODE
        self._next_handle = 1

    def add(self, attachment: Attachment) -> None:
        """Gives ``attachment`` a node. Its bytes for IN endpoints wake the files that wait for them."""
        with self._lock:
            self._devices[self._next_inode] = attachment
            self._next_inode += 1
        attachment.device.in_ready = lambda endpoint: self._in_ready(attachment, endpoint)

    def remove(self, attachment: Attachment) -> None:
        """Takes the node away; open files stay and say ENODEV, and fstat(2) knows them still."""
        with self._lock:
            self._devices = {inode: one for inode, one in self._devices.items() if one is not attachment}

    @property
    def open_count(self) -> int:
        """Number of open files."""
        return len(self._open_files)

    def inode(self, number: int) -> Inode:
        if number in (_ROOT, _BUS_INODES + self._bus):
            return Inode(number, True)
        with self._lock:
            opened = [one.attachment for one in self._open_files.values() if one.inode == number]
        return Inode(number, False, len((opened or [self._device(number)])[0].descriptors))

    def entries(self, directory: int) -> list[DirectoryEntry]:
        if directory == _ROOT:
            return [DirectoryEntry(f"{self._bus:03d}", Inode(_BUS_INODES + self._bus, True))]
        if directory != _BUS_INODES + self._bus:
            raise OSError(errno.ENOTDIR, str(directory))
        with self._lock:
            found = sorted((one.devnum, inode, one) for inode, one in self._devices.items())
        return [
            DirectoryEntry(f"{devnum:03d}", Inode(inode, False, len(one.descriptors)))
            for devnum, inode, one in found
        ]

    def open(self, inode: int, flags: int) -> int:
        attachment = self._device(inode)
        with self._lock:
            handle = self._next_handle
            self._next_handle += 1
        writable = flags & os.O_ACCMODE != os.O_RDONLY
        file = UsbFile(attachment, writable=writable, on_ready=lambda: self._wake(handle))
        with self._lock:
            self._open_files[handle] = _Open(file, attachment, inode)
        return handle

    def read(self, handle: int, offset: int, length: int) -> bytes:
        return self._file(handle).read(offset, length)

    def release(self, handle: int) -> None:
        with self._lock:
            opened = self._open_files.pop(handle, None)
        if opened:
            opened.file.close()

    def poll(self, handle: int, wakeup: int) -> int:
        with self._lock:
            opened = self._open_files.get(handle)
            if opened is None:
                raise OSError(errno.EBADF, str(handle))
            opened.wakeup = wakeup
        can_reap, gone = opened.file.poll()
        events = select.POLLOUT if can_reap else 0
        return events | (select.POLLHUP | select.POLLERR if gone else 0)

    def ioctl(self, request: Request) -> None:
        handle, _, command, argument = struct.unpack_from("<QIIQ", request.body)
        try:
            file = self._file(handle)
        except OSError:
            self.reply_error(request.unique, errno.EBADF)
            return
        waiting = Waiting()
        with self._lock:
            self._running[request.unique] = file, waiting
        call = (request, file, command, argument, waiting)
        if file.may_wait(command):
            threading.Thread(target=self._run_ioctl, args=call, name="usbfs-wait", daemon=True).start()
        else:
            self._run_ioctl(*call)

    def interrupt(self, unique: int) -> bool:
        with self._lock:
            running = self._running.get(unique)
        if running is None:
            return False
        running[0].interrupt(running[1])
        return True

    def _run_ioctl(
        self, request: Request, file: UsbFile, command: int, argument: int, waiting: Waiting
    ) -> None:
        try:
            result = file.ioctl(command, argument, CallingProcess(request.pid), waiting)
        except OSError as error:
            result = -(error.errno or errno.EIO)
        except Exception:
            # A fault in a device must not leave its client waiting for an answer for ever.
            _log.exception("device failed in ioctl %#x", command)
            result = -errno.EIO
        finally:
            with self._lock:
                self._running.pop(request.unique, None)
        self.reply_ioctl(request.unique, result)

    def _device(self, inode: int) -> Attachment:
        with self._lock:
            attachment = self._devices.get(inode)
        if attachment is None:
            raise OSError(errno.ENOENT, str(inode))
        return attachment

    def _file(self, handle: int) -> UsbFile:
        with self._lock:
            opened = self._open_files.get(handle)
        if opened is None:
            raise OSError(errno.EBADF, str(handle))
        return opened.file

    def _wake(self, handle: int) -> None:
        with self._lock:
            opened = self._open_files.get(handle)
            wakeup = opened.wakeup if opened else None
        if wakeup is not None:
            self.notify_poll(wakeup)

    def _in_ready(self, attachment: Attachment, endpoint: int) -> None:
        with self._lock:
            files = [one.file for one in self._open_files.values() if one.attachment is attachment]
        for file in files:
            file.in_ready(endpoint)
