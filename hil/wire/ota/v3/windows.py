"""The two ends of the sliding window of OTA protocol V3: chunk numbers only, no messages and no bytes.

The device's rules are those of protocol fact sheet 4.2. How the cloud repeats chunks is its own affair: a hole is
filled after 3 acknowledgements that do not move on, and what is outstanding is sent anew when a timer runs out.
The device's window of 128 KB says what it can put in order, not what its socket can hold: how many chunks are on
their way at once starts small, grows with each acknowledgement, and is halved by a loss.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, auto

DUPLICATE_ACKS = 3
FIRST_FLIGHT = 16  # chunks on their way at once
LEAST_FLIGHT = 4


class SendWindow:
    """Which of the chunks 1 to ``count`` to send next; at most ``size`` beyond the acknowledged ones."""

    def __init__(self, count: int, size: int) -> None:
        self.count = count
        self.size = size
        self.cumulative = 0
        self._next = 1  # the next chunk to send, for the first time or once more after the timer
        self._sent = 0  # the highest chunk sent so far
        self._sacked: set[int] = set()
        self._again: set[int] = set()
        self._filled: set[int] = set()  # holes that have been filled once since the timer ran out
        self._duplicates = 0
        self._flight = float(FIRST_FLIGHT)
        self._lossless = True

    @property
    def done(self) -> bool:
        """Every chunk is acknowledged."""
        return self.cumulative == self.count

    @property
    def flight(self) -> int:
        """How many chunks may be on their way at once."""
        return int(self._flight)

    @property
    def sendable(self) -> bool:
        """There is a chunk to send now."""
        return bool(self._again) or (self._next <= self._limit and self._under_way() < self.flight)

    @property
    def _limit(self) -> int:
        return min(self.cumulative + self.size, self.count)

    def _under_way(self) -> int:
        """Chunks sent of which nothing is known."""
        return sum(chunk not in self._sacked for chunk in range(self.cumulative + 1, self._next))

    def take(self, most: int) -> list[int]:
        """Up to ``most`` chunks to send: filled holes first, then what comes next."""
        chunks = sorted(self._again)[:most]
        self._again.difference_update(chunks)
        room = min(most - len(chunks), self.flight - self._under_way())
        while room > 0 and self._next <= self._limit:
            if self._next not in self._sacked:
                chunks.append(self._next)
                room -= 1
            self._next += 1
        self._sent = max(self._sent, self._next - 1)
        return chunks

    def acknowledge(self, cumulative: int, early: Iterable[int]) -> bool:
        """Take an acknowledgement; whether it says anything new. Overtaken and impossible ones say nothing."""
        if not self.cumulative <= cumulative <= self._sent:
            return False
        sacked = {chunk for chunk in early if cumulative < chunk <= self._sent}
        moved = cumulative - self.cumulative
        news = moved > 0 or not sacked <= self._sacked
        self._duplicates = 0 if moved else self._duplicates + 1
        self._grow(moved)
        self.cumulative = cumulative
        self._next = max(self._next, cumulative + 1)
        self._sacked = {chunk for chunk in self._sacked | sacked if chunk > cumulative}
        self._again = {chunk for chunk in self._again if chunk > cumulative} - self._sacked
        if self._duplicates >= DUPLICATE_ACKS and self._sacked:
            self._fill_holes()
        return news

    def expire(self) -> None:
        """The timer ran out: go back to the first chunk that has not arrived."""
        self._duplicates = 0
        self._filled.clear()
        self._again.clear()
        self._next = self.cumulative + 1
        self._lost()

    def _fill_holes(self) -> None:
        last = min(max(self._sacked), self._next)
        holes = set(range(self.cumulative + 1, last)) - self._sacked - self._filled
        if holes:
            self._lost()
        self._again |= holes
        self._filled |= holes

    def _grow(self, moved: int) -> None:
        """Double with each round trip until a chunk is lost, then add one with each."""
        self._flight += moved / (1 if self._lossless else self._flight)
        self._flight = min(self._flight, max(self.size, LEAST_FLIGHT))

    def _lost(self) -> None:
        self._lossless = False
        self._flight = max(LEAST_FLIGHT, self._flight / 2)


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
