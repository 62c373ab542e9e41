"""The window of record numbers already seen (protocol fact sheet 2.4: 64 records)."""

from __future__ import annotations

WINDOW = 64
_MASK = (1 << WINDOW) - 1


class ReplayWindow:
    """Remembers the newest number and which of the 63 before it were seen.

    ``newest`` is -1 before the first record; bit n of ``seen`` stands for ``newest - n``.
    """

    def __init__(self, newest: int = -1, seen: int = 0) -> None:
        self.newest = newest
        self.seen = seen

    def is_fresh(self, number: int) -> bool:
        """Whether ``number`` was not seen and is not too old to tell."""
        if number > self.newest:
            return True
        age = self.newest - number
        return age < WINDOW and not self.seen >> age & 1

    def mark(self, number: int) -> None:
        """Remember ``number``; call only for authentic records."""
        if number > self.newest:
            self.seen = (self.seen << min(number - self.newest, WINDOW) | 1) & _MASK
            self.newest = number
        elif self.newest - number < WINDOW:
            self.seen |= 1 << self.newest - number
