"""Durations in words: ``90s``, ``15m``, ``2d``, ``1d12h``."""

from __future__ import annotations

import re

from hil.errors import UsageError

_UNITS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_WORDS = re.compile(
    "".join(rf"(?:(?P<{unit}>\d{{1,9}}(?:\.\d{{1,6}})?){unit})?" for unit in _UNITS), re.ASCII
)


def parse_duration(text: str) -> float:
    """Seconds of a duration: numbers, each with its unit, the largest unit first.

    Raises ``UsageError`` for anything else, no duration at all among it.
    """
    found = _WORDS.fullmatch(text.strip())
    seconds = sum(float(found[unit] or 0) * _UNITS[unit] for unit in _UNITS) if found else 0.0
    if seconds <= 0:
        raise UsageError(
            "not a duration", expected="such as 90s, 15m, 2d or 1d12h (units w d h m s)", found=repr(text)
        )
    return seconds
