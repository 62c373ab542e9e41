"""What can be wrong with the files of a cloud's state, each as one message that names the file and what to do."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hil.errors import CloudError, UsageError

ELSEWHERE = "name another directory: --state of `hil cloud`, --cloud-state of pytest"


class StateFailed(CloudError):
    """A file of the cloud's state did not take, or did not give back, what it should.

    What was to be stored is not stored: whoever asked for it is refused, and may ask again.
    """


class StateFull(StateFailed):
    """The disk is full."""


@contextmanager
def keeping(directory: Path) -> Iterator[None]:
    """Around what opens or makes files of a cloud's state. Raises ``UsageError`` where they cannot be had."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"the cloud cannot keep its state in {directory}",
            found=f"{error.strerror}: {error.filename or directory}",
            hint=f"mend that, or {ELSEWHERE}",
        ) from error
    except StateFailed as error:
        # Nothing runs yet: what it is started on is the caller's choice.
        raise UsageError(error.what, expected=error.expected, found=error.found, hint=error.hint) from error


def translated(path: Path, error: sqlite3.Error) -> StateFailed | None:
    """``error`` of the database ``path`` in words; ``None`` for one that no file is to blame for."""
    found = str(error)
    match _kind(path, error):
        case "FULL":
            return StateFull(
                f"the disk is full: {path} takes nothing more",
                found=found,
                hint="make room; until then what cannot be stored is refused, then all goes on by itself",
            )
        case "READONLY" | "CANTOPEN" | "PERM" | "AUTH":
            return StateFailed(
                f"{path} cannot be written",
                found=found,
                hint=f"let this user write that file and its directory, or {ELSEWHERE}",
            )
        case "CORRUPT" | "NOTADB":
            return StateFailed(
                f"{path} is damaged",
                found=found,
                hint="put a copy of it back; or move it away, start with an empty one and register the boards anew "
                "(the server's keys are files of their own and stay as they are)",
            )
        case "IOERR":
            return StateFailed(f"{path} cannot be read or written", found=found, hint="look after the disk")
        case "BUSY" | "LOCKED":
            return StateFailed(f"{path} is held by another program", found=found, hint="end that program")
        case _:
            return None


def _kind(path: Path, error: sqlite3.Error) -> str:
    """``IOERR`` of ``SQLITE_IOERR_SHMSIZE``, and so on."""
    name = getattr(error, "sqlite_errorname", "") or ""
    kind = name.removeprefix("SQLITE_").partition("_")[0]
    if kind == "IOERR":
        # Where SQLite grows the index of its log, a full disk is told as this.
        with suppress(OSError):
            if os.statvfs(path.parent).f_bavail == 0:
                return "FULL"
    return kind
