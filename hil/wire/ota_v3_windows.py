"""The two ends of the sliding window of OTA protocol V3: chunk numbers only, no messages and no bytes.

The device's rules are those of protocol fact sheet 4.2. How the cloud repeats chunks is its own affair: a hole is
filled after 3 acknowledgements that do not move on, and everything outstanding is repeated when a timer runs out.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, auto

DUPLICATE_ACKS = 3


class SendWindow:
    """Which of the chunks 1 to ``count`` to send next; at most ``size`` beyond the acknowledged ones."""

    def __init__(self, count: int, size: int) -> None:
        self.count = count
        self.size = size
        self.cumulative = 0
        self._sent = 0  # the highest chunk sent so far
        self._sacked: set[int] = set()
        self._again: set[int] = set()
        self._filled: set[int] = set()  # holes that have been filled once since the timer ran out
        self._duplicates = 0

    @property
    def done(self) -> bool:
        """Every chunk is acknowledged."""
        return self.cumulative == self.count

    @property
    def sendable(self) -> bool:
        """There is a chunk to send now."""
        return bool(self._again) or self._sent < self._limit

    @property
    def _limit(self) -> int:
        return min(self.cumulative + self.size, self.count)

    def take(self, most: int) -> list[int]:
        """Up to ``most`` chunks to send: repeats first, then new ones."""
        chunks = sorted(self._again)[:most]
        self._again.difference_update(chunks)
        last = min(self._limit, self._sent + most - len(chunks))
        chunks.extend(range(self._sent + 1, last + 1))
        self._sent = max(self._sent, last)
        return chunks

    def acknowledge(self, cumulative: int, early: Iterable[int]) -> bool:
        """Take an acknowledgement; whether it says anything new. Overtaken and impossible ones say nothing."""
        if not self.cumulative <= cumulative <= self._sent:
            return False
        sacked = {chunk for chunk in early if cumulative < chunk <= self._sent}
        news = cumulative > self.cumulative or not sacked <= self._sacked
        if cumulative > self.cumulative:
            self._duplicates = 0
        else:
            self._duplicates += 1
        self.cumulative = cumulative
        self._sacked = {chunk for chunk in self._sacked | sacked if chunk > cumulative}
        self._again = {chunk for chunk in self._again if chunk > cumulative} - self._sacked
        if self._duplicates >= DUPLICATE_ACKS and self._sacked:
            self._fill_holes()
        return news

    def expire(self) -> None:
        """The timer ran out: repeat all that is outstanding."""
        self._duplicates = 0
        self._filled.clear()
        self._again = set(range(self.cumulative + 1, self._sent + 1)) - self._sacked

    def _fill_holes(self) -> None:
        holes = set(range(self.cumulative + 1, max(self._sacked))) - self._sacked - self._filled
        self._again |= holes
        self._filled |= holes


class Arrival(Enum):
    """What a chunk is to the receive window."""

    NEW = auto()
    DUPLICATE = auto()
    OUTSIDE = auto()


class ReceiveWindow:
    """Which of the chunks 1 to ``count`` have arrived: all up to ``cumulative`` and those in ``early``."""

    def __init__(self, count: int, size: int) -> None:
        self.count = count
        self.size = size
        self.cumulative = 0
        self.early: set[int] = set()

    @property
    def done(self) -> bool:
        """Every chunk has arrived."""
        return self.cumulative == self.count

    def add(self, chunk: int) -> Arrival:
        """Mark ``chunk`` as arrived, unless it lies outside the window or has come before."""
        if chunk <= self.cumulative or chunk in self.early:
            return Arrival.DUPLICATE
        if chunk > self.cumulative + self.size:
            return Arrival.OUTSIDE
        self.early.add(chunk)
        while self.cumulative + 1 in self.early:
            self.cumulative += 1
            self.early.remove(self.cumulative)
        return Arrival.NEW
