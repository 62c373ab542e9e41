"""A file of sysfs whose writes mean something."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass

_YES, _NO = ("1", "y", "Y", "t", "T", "on"), ("0", "n", "N", "f", "F", "off")


@dataclass(frozen=True, slots=True)
class Control:
    """``write`` takes the text without its line end and may raise ``OSError``; without ``read`` nobody may read."""

    write: Callable[[str], None]
    read: Callable[[], str] | None = None

    @property
    def permissions(self) -> int:
        return 0o644 if self.read else 0o200


def truth(text: str) -> bool:
    """A yes or no as the kernel's kstrtobool reads it. Raises ``OSError`` EINVAL."""
    if text in _YES:
        return True
    if text in _NO:
        return False
    raise OSError(errno.EINVAL, f"neither yes nor no: {text!r}")


def number(text: str, base: int = 10) -> int:
    """The first word as a number. Raises ``OSError`` EINVAL."""
    try:
        return int(text.split()[0], base)
    except (IndexError, ValueError):
        raise OSError(errno.EINVAL, f"no number: {text!r}") from None
