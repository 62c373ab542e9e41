"""The cloud's memory on disk: one SQLite file in WAL mode with one writer.

A commit is in the operating system's hands when :meth:`Store.transaction` returns, so a killed process loses
nothing that was committed. (Only a power cut of the host may lose the last commits: ``synchronous=NORMAL``.)
Each part of the cloud brings its own tables through :meth:`Store.migrate`.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hil.errors import StateInUse, UsageError

Row = sqlite3.Row


class Store:
    """The database of one cloud in ``directory``. A second cloud on the same directory is refused.

    ``now`` is the time that stored rows carry, in seconds since 1970. Safe to use from any thread; transactions of
    different threads wait for each other.
    """

    def __init__(self, directory: Path, now: Callable[[], float] = time.time) -> None:
        self.now = now
        self.directory = directory
        self.path = directory / "cloud.sqlite"
        self._guard = threading.RLock()
        self._depth = 0
        with keeping(directory):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock_fd = _claim(directory / "cloud.lock")
            try:
                self._open()
            except BaseException:
                os.close(self._lock_fd)
                raise

    def _open(self) -> None:
        # Sessions and tokens are secrets: the file must not be readable by others from its first byte on.
        os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
        self._db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute("PRAGMA foreign_keys=ON")
        self._db.execute("CREATE TABLE IF NOT EXISTS migrations (part TEXT PRIMARY KEY, version INTEGER)")

    def migrate(self, part: str, steps: Sequence[str]) -> None:
        """Bring the tables of ``part`` up to date. ``steps`` is the whole history of its SQL, oldest first."""
        with self.transaction():
            row = self.one("SELECT version FROM migrations WHERE part=?", part)
            done = int(row["version"]) if row else 0
            if done > len(steps):
                raise UsageError(
                    f"{self.path} was written by a newer version",
                    expected=f"at most {len(steps)} migrations of {part}",
                    found=str(done),
                    hint="use that version, or another state directory",
                )
            for step in steps[done:]:
                for statement in filter(str.strip, step.split(";")):
                    self._db.execute(statement)
            self.execute("INSERT OR REPLACE INTO migrations VALUES (?, ?)", part, len(steps))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside is committed together, or not at all when it raises. May be nested."""
        with self._guard:
            outermost = self._depth == 0
            if outermost:
                self._db.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
            except BaseException:
                self._depth -= 1
                if outermost:
                    self._db.execute("ROLLBACK")
                raise
            self._depth -= 1
            if outermost:
                self._db.execute("COMMIT")

    def execute(self, sql: str, *values: Any) -> int:
        """Run one statement that changes something. Returns the id of an inserted row."""
        with self._guard:
            return self._db.execute(sql, values).lastrowid or 0

    def change(self, sql: str, *values: Any) -> int:
        """Run one statement and return how many rows it changed."""
        with self._guard:
            return self._db.execute(sql, values).rowcount

    def query(self, sql: str, *values: Any) -> list[Row]:
        """All rows of a SELECT."""
        with self._guard:
            return self._db.execute(sql, values).fetchall()

    def one(self, sql: str, *values: Any) -> Row | None:
        """The first row of a SELECT, or ``None``."""
        with self._guard:
            row: Row | None = self._db.execute(sql, values).fetchone()
            return row

    def close(self) -> None:
        """Close the file and let another cloud have it."""
        with self._guard:
            self._db.close()
        os.close(self._lock_fd)


@contextmanager
def keeping(directory: Path) -> Iterator[None]:
    """Around what opens or makes files of a cloud's state. Raises ``UsageError`` where they cannot be had."""
    try:
        yield
    except (OSError, sqlite3.DatabaseError) as error:
        raise UsageError(
            f"the cloud cannot keep its state in {directory}",
            found=f"{error.strerror}: {error.filename}" if isinstance(error, OSError) else str(error),
            hint="mend that, or name another directory: --state of `hil cloud`, --cloud-state of pytest",
        ) from error


def _claim(path: Path) -> int:
    fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise StateInUse(
            f"another cloud uses {path.parent}",
            expected="one cloud per state directory",
            hint="stop it, or choose another state directory",
        ) from None
    return fd
