"""An append-only list that any thread may look back into and wait on.

The cloud appends on its own thread; tests read on theirs. Nothing is ever consumed: each reader holds a
position of its own, so two assertions on the same events never disturb each other. A cloud runs for months, so
only the newest items stay in memory.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from hil.errors import CloudError

Item = TypeVar("Item")


KEPT = 20_000  # items, unless a journal is told otherwise


class NoLongerKept(CloudError):
    """Somebody looks back to a moment whose items a journal has dropped since."""


class Journal(Generic[Item]):
    """Items in the order they came, with positions counted from 0: the newest ``kept``, and a few more.

    A position stays what it is when old items are dropped. Looking back behind the oldest item is an error, so
    nobody takes the rest for the whole.
    """

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = max(1, kept)
        # Dropped some at a time: to take the head off a list moves all the rest.
        self._slack = max(1, self._kept // 16)
        self._items: list[Item] = []
        self._first = 0
        self._changed = threading.Condition()
        # Called after every change, on the thread that made it.
        self.listeners: list[Callable[[], None]] = []

    def __len__(self) -> int:
        """How many items have come, dropped ones too: the position of the next."""
        with self._changed:
            return self._first + len(self._items)

    @property
    def first(self) -> int:
        """The position of the oldest item that is kept: how many have been dropped."""
        with self._changed:
            return self._first

    def append(self, item: Item) -> None:
        """Add ``item`` and wake everyone who waits."""
        with self._changed:
            self._items.append(item)
            excess = len(self._items) - self._kept
            if excess >= self._slack:
                del self._items[:excess]
                self._first += excess
        self.touch()

    def touch(self) -> None:
        """Wake everyone who waits: something changed, perhaps outside the list."""
        with self._changed:
            self._changed.notify_all()
        for listener in tuple(self.listeners):
            listener()

    def since(self, position: int | None = None) -> list[Item]:
        """A copy of everything from ``position`` on; without one of everything that is kept.

        Raises ``NoLongerKept`` when items from ``position`` on have been dropped.
        """
        with self._changed:
            return self._items[self._index(position) :]

    def wait(
        self, wanted: Callable[[Item], bool], *, position: int | None = None, within: float
    ) -> Item | None:
        """The first item from ``position`` on that is ``wanted``; ``None`` after ``within`` seconds.

        Raises ``NoLongerKept`` as :meth:`since`, also when items are dropped before they could be looked at.
        """
        end = time.monotonic() + within
        with self._changed:
            at = self._first if position is None else position
            while True:
                fresh = self._items[self._index(at) :]
                for item in fresh:
                    if wanted(item):
                        return item
                at += len(fresh)
                if not fresh:
                    left = end - time.monotonic()
                    if left <= 0:
                        return None
                    self._changed.wait(left)

    def wait_until(self, condition: Callable[[], bool], *, within: float) -> bool:
        """Whether ``condition`` holds within ``within`` seconds; asked again after every change."""
        with self._changed:
            return self._changed.wait_for(condition, within)

    def _index(self, position: int | None) -> int:
        """Where in the list ``position`` is."""
        if position is None:
            return 0
        if position < self._first:
            raise NoLongerKept(
                f"{self._first - position} entries since then are no longer kept in memory",
                expected=f"a look back over at most {self._kept}",
                found=f"one over {self._first + len(self._items) - position}",
                hint="look more often, take a later mark, or keep more: `Retention(journal=...)` of the cloud",
            )
        return position - self._first
