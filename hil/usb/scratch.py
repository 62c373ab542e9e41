"""Folders for the files that ``dfu-util`` reads and writes. One that a killed process left is swept by the next run."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hil import held
from hil.errors import FlashError

_PREFIX = "hil-dfu-"
_UNHELD = 3600.0  # seconds; folders of versions that held no lock


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for the length of a ``with`` block. Raises ``FlashError`` when there is no place for one."""
    try:
        folder = held.create(f"{_PREFIX}{os.getuid()}-", _parent())
    except OSError as error:
        raise FlashError(
            "no place for the files that dfu-util wants",
            found=str(error),
            hint="make room in /tmp, or name another folder in TMPDIR",
        ) from error
    try:
        yield folder.path
    finally:
        folder.remove()


def sweep() -> None:
    """Remove what killed processes of this user left."""
    try:
        parent = _parent()
    except OSError:
        return
    held.sweep(f"{_PREFIX}{os.getuid()}-", parent)
    held.sweep(_PREFIX, parent, _UNHELD)


def _parent() -> Path:
    return Path(tempfile.gettempdir())
