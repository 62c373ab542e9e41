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
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hil.cloud.state.trouble import StateFailed, keeping, translated
from hil.errors import StateInUse, UsageError

Row = sqlite3.Row
DATABASE = "cloud.sqlite"
CALM = 10.0  # seconds without a failure after which writing counts as working again


class Store:
    """The database of one cloud in ``directory``. A second cloud on the same directory is refused.

    ``now`` is the time that stored rows carry, in seconds since 1970. Safe to use from any thread; transactions of
    different threads wait for each other. What a file is to blame for is raised as ``StateFailed`` with its name;
    ``on_trouble`` is called when that begins, and with ``None`` when writing works again.
    """

    def __init__(self, directory: Path, now: Callable[[], float] = time.time) -> None:
        self.now = now
        self.directory = directory
        self.path = directory / DATABASE
        self.on_trouble: Callable[[StateFailed | None], None] = lambda _error: None
        self._guard = threading.RLock()
        self._depth = 0
        self._after_commit: list[Callable[[], object]] = []
        self._on_rollback: list[Callable[[], object]] = []
        self._failed_at: float | None = None
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
        with self._telling():
            self._db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute("PRAGMA foreign_keys=ON")
            # What can be read and not be written is found out now, not at the first event.
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("CREATE TABLE IF NOT EXISTS migrations (part TEXT PRIMARY KEY, version INTEGER)")
            self._db.execute("COMMIT")

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
                    self.execute(statement)
            self.execute("INSERT OR REPLACE INTO migrations VALUES (?, ?)", part, len(steps))

    # Transactions

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside is committed together, or not at all when it raises. May be nested.

        A nested one that raises undoes its own part only, for a caller that goes on.
        """
        done: list[Callable[[], object]] = []
        with self._guard:
            depth, callbacks, undoing = self._depth, len(self._after_commit), len(self._on_rollback)
            self._do(f"SAVEPOINT level{depth}" if depth else "BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
                self._do(f"RELEASE level{depth}" if depth else "COMMIT")
            except BaseException:
                self._depth = depth
                self._undo(depth, callbacks, undoing)
                raise
            self._depth = depth
            if not depth:
                self._on_rollback.clear()
                done, self._after_commit = self._after_commit, []
        # Without the guard: who is told here may wait for somebody who asks the store.
        for callback in done:
            callback()

    def _undo(self, depth: int, callbacks: int, undoing: int) -> None:
        # A full disk may have undone the whole transaction by itself.
        if self._db.in_transaction:
            back = (f"ROLLBACK TO level{depth}", f"RELEASE level{depth}") if depth else ("ROLLBACK",)
            with suppress(sqlite3.Error):
                for statement in back:
                    self._db.execute(statement)
        del self._after_commit[callbacks:]
        steps = self._on_rollback[undoing:]
        del self._on_rollback[undoing:]
        for step in reversed(steps):
            step()

    def after_commit(self, callback: Callable[[], object]) -> None:
        """Call ``callback`` once what is under way is committed, never when it is undone; now when nothing is."""
        with self._guard:
            if self._depth:
                self._after_commit.append(callback)
                return
        callback()

    def on_rollback(self, callback: Callable[[], object]) -> None:
        """Call ``callback`` should the transaction under way be undone: for what memory has of it already."""
        with self._guard:
            if self._depth:
                self._on_rollback.append(callback)

    # Statements

    def execute(self, sql: str, *values: Any) -> int:
        """Run one statement that changes something. Returns the id of an inserted row."""
        with self._guard:
            return self._do(sql, values).lastrowid or 0

    def change(self, sql: str, *values: Any) -> int:
        """Run one statement and return how many rows it changed."""
        with self._guard:
            return self._do(sql, values).rowcount

    def query(self, sql: str, *values: Any) -> list[Row]:
        """All rows of a SELECT."""
        with self._guard, self._telling():
            return self._db.execute(sql, values).fetchall()

    def one(self, sql: str, *values: Any) -> Row | None:
        """The first row of a SELECT, or ``None``."""
        with self._guard, self._telling():
            row: Row | None = self._db.execute(sql, values).fetchone()
            return row

    def _do(self, sql: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        if self._depth and not self._db.in_transaction:
            # SQLite has undone it. What came now would be stored alone, without what it belongs to.
            raise StateFailed(f"{self.path} has undone what was to be stored", hint="see the error before")
        try:
            cursor = self._db.execute(sql, values)
        except sqlite3.Error as error:
            told = self._failure(error)
            if told is None:
                raise
            raise told from error
        if not self._db.in_transaction:
            self._works()
        return cursor

    # Trouble

    def _failure(self, error: sqlite3.Error) -> StateFailed | None:
        """As ``translated``; said once, to ``on_trouble``, until writing works again."""
        told = translated(self.path, error)
        if told is not None:
            said, self._failed_at = self._failed_at is not None, self.now()
            if not said:
                self.on_trouble(told)
        return told

    def _works(self) -> None:
        # On a full disk short rows go in now and then between others that do not.
        if self._failed_at is not None and self.now() - self._failed_at >= CALM:
            self._failed_at = None
            self.on_trouble(None)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            told = self._failure(error)
            if told is None:
                raise
            raise told from error

    def close(self) -> None:
        """Close the file and let another cloud have it."""
        with self._guard:
            self._db.close()
        os.close(self._lock_fd)


def _claim(path: Path) -> int:
    fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
        os.close(fd)
        raise StateInUse(
            f"another cloud uses {path.parent}",
            expected="one cloud per state directory",
            found=f"{path} locked" + (f" by process {holder}" if holder else ""),
            hint="stop it, or choose another state directory",
        ) from None
    # For people; on a full disk it is left out.
    with suppress(OSError):
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd
