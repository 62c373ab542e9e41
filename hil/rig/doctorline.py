"""One line of ``hil doctor``: what was looked at, how it is, and the command that mends it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """``WARNING``: something works less well, or only something else needs it. ``MISSING``: required."""

    OK = "ok"
    WARNING = "warning"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor. ``fix`` is a command or a hint; ``packages`` are Debian packages that mend it."""

    name: str
    verdict: Verdict
    found: str
    fix: str = ""
    packages: tuple[str, ...] = ()
