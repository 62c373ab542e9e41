"""One board, one user: a lock per USB port path. USB fact sheet 4.3 and 9.4.

An advisory lock of the kernel on a file that tells who holds it. It covers serial, control requests, DFU and power
of the board, and is free again the moment its holder's process is gone, however that ended.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from hil.errors import RigError

_RECORD = 1024  # bytes: every holder writes as many, so no file need ever be made shorter
_TRIES = 20  # for a file that its last holder takes away while we open it
_OPEN = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_PREFIX = "hil-usb-"


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a board: process id, command line, and since when (seconds of the epoch)."""

    pid: int
    command: str
    since: float

    def __str__(self) -> str:
        when = time.strftime("%H:%M:%S", time.localtime(self.since))
        return f"process {self.pid} ({self.command}) since {when}"

    @classmethod
    def read(cls, data: bytes) -> Holder | None:
        """What a holder wrote; ``None`` for anything else, since every user of this computer may write there."""
        try:
            values = json.loads(data)
            pid, command, since = int(values["pid"]), str(values["command"]), float(values["since"])
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return None
        if not 0 <= since < 1 << 40:
            return None
        return cls(pid, "".join(each if each.isprintable() else "?" for each in command[:120]), since)

    def record(self) -> bytes:
        """What :meth:`read` reads, of the one size."""
        text = json.dumps({**asdict(self), "command": self.command[:120]}).encode()
        return text.ljust(_RECORD)


class BoardHeld(RigError):
    """Somebody else has the board; ``holder`` is ``None`` when the lock file does not say who."""

    def __init__(self, port: str, holder: Holder | None) -> None:
        self.holder = holder
        super().__init__(
            f"the board at USB port {port} is in use",
            found=f"held by {holder or 'an unknown process'}",
            hint="wait for it, or end it; `hil boards` shows who holds what",
        )


def lock_directory() -> Path:
    """Where the lock files of all users of this computer lie: a directory of root's in which nobody removes another's.

    It does not depend on the environment: two runs of one user, one in a session and one from cron, meet here.
    """
    shared = Path("/run/lock")
    with suppress(OSError):
        status = shared.lstat()
        if stat.S_ISDIR(status.st_mode) and status.st_mode & 0o1777 == 0o1777 and status.st_uid == 0:
            return shared
    return Path("/tmp")


def sweep(directory: Path | None = None) -> None:
    """Remove the lock files that killed processes of this user left."""
    for path in (directory or lock_directory()).glob(f"{_PREFIX}*.lock"):
        with suppress(OSError, RigError):
            file = _open(path, create=False)
            if file is None:
                continue
            try:
                if _try_lock(file) and _is(file, path):
                    path.unlink()
            finally:
                os.close(file)


def _usb_tree() -> str:
    """Which USB tree this process sees: a port path means something within one tree only.

    Network namespaces have a mount of sysfs each, and all show the one tree of the kernel.
    """
    place = Path("/sys/bus/usb")
    kind, best = "", -1
    try:
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            mount, _, rest = line.partition(" - ")
            point = mount.split()[4]
            if place.is_relative_to(point) and len(point) >= best:
                kind, best = rest.split()[0], len(point)
        return "host" if kind == "sysfs" else str(place.stat().st_dev)
    except (OSError, IndexError):
        return "none"


def _check_directory(directory: Path) -> None:
    """Raises ``RigError`` for a directory in which others can take our files away, or a link to one."""
    status = directory.lstat()
    trusted = {0, os.geteuid(), _overflow_user()}  # root is nobody in a namespace that does not know him
    open_to_all = status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX
    if not stat.S_ISDIR(status.st_mode) or status.st_uid not in trusted or open_to_all:
        raise RigError(
            f"{directory} is no place for locks",
            expected="a directory of root's, in which only the owner of a file removes it (mode 1777)",
            found=f"{stat.filemode(status.st_mode)} of user {status.st_uid}",
            hint=f"sudo chown root {directory} && sudo chmod 1777 {directory}",
        )


def _overflow_user() -> int:
    try:
        return int(Path("/proc/sys/kernel/overflowuid").read_text())
    except (OSError, ValueError):
        return 65534


def _open(path: Path, *, create: bool) -> int | None:
    """An open lock file that is what it should be; ``None`` when it is not there. Raises ``OSError``, ``RigError``."""
    try:
        file = os.open(path, _OPEN)
    except FileNotFoundError:
        if not create:
            return None
        try:
            file = os.open(path, _OPEN | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            return None
        os.fchmod(file, 0o666)  # whatever the umask: the next user locks it too
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise
        raise _wrong(path, os.strerror(error.errno)) from error
    status = os.fstat(file)
    if stat.S_ISREG(status.st_mode) and status.st_nlink <= 1 and _is_ours(os.pread(file, _RECORD + 1, 0)):
        return file
    os.close(file)
    links = f" with {status.st_nlink} names" if status.st_nlink > 1 else ""
    raise _wrong(path, f"{stat.filemode(status.st_mode)} of user {status.st_uid}{links}")


def _is_ours(content: bytes) -> bool:
    """Whether this is all that a holder ever writes: nothing, or one record."""
    return len(content) <= _RECORD and (not content.strip() or Holder.read(content) is not None)


def _wrong(path: Path, found: str) -> RigError:
    return RigError(
        f"{path} is not a lock file of hil",
        expected="a file with one name that holds nothing else",
        found=found,
        hint=f"somebody put it there; look at it, then remove it: sudo rm {path}",
    )


def _is(file: int, path: Path) -> bool:
    """Whether the open ``file`` is still the one at ``path``."""
    try:
        return os.path.samestat(os.fstat(file), path.lstat())
    except FileNotFoundError:
        return False


class PortLock:
    """The lock of one USB port path. Not shared between threads."""

    def __init__(self, port: str, directory: Path | None = None) -> None:
        self.port = port
        self._path = (directory or lock_directory()) / f"{_PREFIX}{_usb_tree()}-{port}.lock"
        self._file: int | None = None

    def acquire(self) -> None:
        """Take the lock. Raises ``BoardHeld`` at once when somebody else has it, ``RigError`` when it cannot be had."""
        if self._file is not None:
            return
        try:
            _check_directory(self._path.parent)
            self._file = self._locked()
            os.pwrite(self._file, Holder(os.getpid(), " ".join(sys.argv), time.time()).record(), 0)
        except OSError as error:
            self.release()
            raise RigError(
                f"the lock of USB port {self.port} cannot be had", found=f"{self._path}: {error.strerror}"
            ) from error

    def release(self) -> None:
        """Give the lock back; harmless when it is not held."""
        if self._file is None:
            return
        file, self._file = self._file, None
        try:
            self._path.unlink()  # while it is locked: whoever waits for it looks whether it still is the one there
        except OSError:
            with suppress(OSError):
                os.pwrite(file, b" " * _RECORD, 0)  # another user's, who locked it first
        finally:
            os.close(file)

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._file is not None

    def holder(self) -> Holder | None:
        """Who holds the lock in another place, found out without taking it. Raises ``RigError``."""
        if self._file is not None:
            return None
        try:
            file = _open(self._path, create=False)
        except OSError as error:
            raise RigError(
                f"the lock of USB port {self.port} cannot be read", found=f"{self._path}: {error.strerror}"
            ) from error
        if file is None:
            return None
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return Holder.read(os.pread(file, _RECORD, 0)) or Holder(0, "unknown", time.time())
        finally:
            os.close(file)
        return None

    def _locked(self) -> int:
        for _ in range(_TRIES):
            file = _open(self._path, create=True)
            if file is None:
                continue
            if not _try_lock(file):
                holder = Holder.read(os.pread(file, _RECORD, 0))
                os.close(file)
                raise BoardHeld(self.port, holder)
            if _is(file, self._path):
                return file
            os.close(file)
        raise RigError(
            f"the lock of USB port {self.port} cannot be had", found=f"{self._path} comes and goes"
        )


def _try_lock(file: int) -> bool:
    """Take the lock if it is free; a look at the holder blocks it for a moment only, so try more than once."""
    for pause in (0.01, 0.02, 0.0):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(pause)
        else:
            return True
    return False
