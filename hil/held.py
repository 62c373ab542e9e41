"""Folders that belong to a process for as long as it lives, and the sweeping of those that were left behind.

Whoever makes one holds a lock on it that the kernel gives up with the last process that has it, however that ends. What
nobody holds is left over: a sweep takes it away, never one that somebody is just making or taking away.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(slots=True)
class HeldFolder:
    """A folder and the lock on it, which forked processes share and ``exec`` gives up."""

    path: Path
    lock: int

    def remove(self) -> None:
        """Take the folder away, and with it the lock. May be called again."""
        if self.lock >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self.lock)
            self.lock = -1


def create(prefix: str, parent: Path) -> HeldFolder:
    """A fresh folder in ``parent``, mode 0700, held. Raises ``OSError``."""
    while True:
        made = hold(Path(tempfile.mkdtemp(prefix=prefix, dir=parent)))
        if made is not None:
            return made  # else somebody else's sweep took it for a left one in the moment before it was held


def hold(path: Path) -> HeldFolder | None:
    """``path`` once its lock is ours; ``None`` when somebody holds it or took it away, or it is not our folder."""
    try:
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        status = os.fstat(lock)
        if status.st_uid == os.geteuid() and os.path.samestat(status, path.lstat()):
            return HeldFolder(path, lock)
    except OSError:
        pass
    os.close(lock)
    return None


def sweep(prefix: str, parent: Path, older_than: float = 0.0) -> None:
    """Remove this user's folders with ``prefix`` that nobody holds and that were last changed so many seconds ago."""
    for path in parent.glob(f"{prefix}*"):
        left = hold(path)
        if left is None:
            continue
        if time.time() - os.fstat(left.lock).st_mtime >= older_than:
            left.remove()
        else:
            os.close(left.lock)
