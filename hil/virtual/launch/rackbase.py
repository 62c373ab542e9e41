"""The base directory of a running rack: one each, so that racks do not know of each other.

It holds the socket of the rack's supervisor and the mount point of its private trees. Whoever makes it holds a lock on
it that the kernel gives up with the last process of the rack, however that ends: the next start sweeps directories that
nobody holds, never one of a rack that is starting or ending at the moment.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path

SOCKET_NAME = "supervisor.sock"
_PREFIX = "hil-rack"


@dataclass(frozen=True, slots=True)
class RunningRack:
    """A rack of this user. ``since`` is the time its directory was made (Unix seconds)."""

    base: Path
    pid: int
    since: float


@dataclass(slots=True)
class Base:
    """A base directory and the lock on it, which forked processes share and ``exec`` gives up."""

    path: Path
    lock: int

    def remove(self) -> None:
        """Take the directory away, and with it the lock. May be called again."""
        if self.lock >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self.lock)
            self.lock = -1


def create() -> Base:
    """A fresh base directory, mode 0700, held; never below /run (the rack lays its own /run over that)."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}-{os.getuid()}-", dir=_parent()))
        base = _held(path)
        if base is not None:
            return base  # else another start took it for a left one in the moment before it was held


def _held(path: Path) -> Base | None:
    """``path`` once its lock is ours; ``None`` when somebody holds it or has just taken it away."""
    try:
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(lock), path.lstat()):
            return Base(path, lock)
    except OSError:
        pass
    os.close(lock)
    return None


def supervisor(base: Path) -> tuple[socket.socket, int]:
    """A connection to the rack at ``base`` and its pid. Raises ``OSError`` when it is not running."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(str(base / SOCKET_NAME))
    except OSError:
        connection.close()
        raise
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    pid, _, _ = struct.unpack("iII", credentials)
    return connection, pid


def running() -> list[RunningRack]:
    """This user's racks, oldest first."""
    found = []
    for base in _parent().glob(f"{_PREFIX}-{os.getuid()}-*"):
        with contextlib.suppress(OSError):
            connection, pid = supervisor(base)
            connection.close()
            found.append(RunningRack(base, pid, base.stat().st_mtime))
    return sorted(found, key=lambda rack: rack.since)


def sweep() -> None:
    """Remove directories of racks that were killed: nobody holds them."""
    for path in _parent().glob(f"{_PREFIX}-{os.getuid()}-*"):
        left = _held(path)
        if left is not None:
            left.remove()


def _parent() -> Path:
    directory = Path(tempfile.gettempdir()).resolve()
    return Path("/tmp") if directory.is_relative_to("/run") else directory
