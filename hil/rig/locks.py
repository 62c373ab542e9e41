"""One board, one user: a lock per USB port path. USB fact sheet 4.3 and 9.4.

An advisory lock of the kernel on a file that tells who holds it. It covers serial, control requests, DFU and power
of the board, and is free again the moment its holder's process is gone, however that ended.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from hil.errors import RigError


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a board: process id, command line, and since when (seconds of the epoch)."""

    pid: int
    command: str
    since: float

    def __str__(self) -> str:
        return f"process {self.pid} ({self.command}) since {time.strftime('%H:%M:%S', time.localtime(self.since))}"


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
    """Where this user's lock files lie."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and os.access(runtime, os.W_OK):
        return Path(runtime, "hil")
    return Path("/tmp", f"hil-{os.getuid()}")


def _usb_tree() -> str:
    """Which USB tree this process sees: a port path means something within one tree only."""
    try:
        return str(os.stat("/sys/bus/usb").st_dev)
    except OSError:
        return "none"


class PortLock:
    """The lock of one USB port path. Not shared between threads."""

    def __init__(self, port: str, directory: Path | None = None) -> None:
        self.port = port
        self._path = (directory or lock_directory()) / f"usb-{_usb_tree()}-{port}.lock"
        self._file: int | None = None

    def acquire(self) -> None:
        """Take the lock. Raises ``BoardHeld`` at once when somebody else has it."""
        if self._file is not None:
            return
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not _try_lock(file):
            os.close(file)
            raise BoardHeld(self.port, self._read())
        holder = Holder(os.getpid(), " ".join(sys.argv)[:120], time.time())
        os.ftruncate(file, 0)
        os.pwrite(file, json.dumps(asdict(holder)).encode(), 0)
        self._file = file

    def release(self) -> None:
        """Give the lock back; harmless when it is not held."""
        if self._file is not None:
            os.ftruncate(self._file, 0)
            os.close(self._file)
            self._file = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._file is not None

    def holder(self) -> Holder | None:
        """Who holds the lock in another place, found out without taking it."""
        if self._file is not None:
            return None
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return self._read() or Holder(0, "unknown", time.time())
        finally:
            os.close(file)
        return None

    def _read(self) -> Holder | None:
        try:
            values = json.loads(self._path.read_text())
            return Holder(int(values["pid"]), str(values["command"]), float(values["since"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None


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
