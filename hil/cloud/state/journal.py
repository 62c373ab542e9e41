"""An append-only list that any thread may look back into and wait on.

The cloud appends on its own thread; tests read on theirs. Nothing is ever consumed: each reader holds a
position of its own, so two assertions on the same events never disturb each other.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Journal(Generic[Item]):
    """Items in the order they came, with positions counted from 0."""

    def __init__(self) -> None:
        self._items: list[Item] = []
        self._changed = threading.Condition()
        # Called after every change, on the thread that made it.
        self.listeners: list[Callable[[], None]] = []

    def __len__(self) -> int:
        with self._changed:
            return len(self._items)

    def append(self, item: Item) -> None:
        """Add ``item`` and wake everyone who waits."""
        with self._changed:
            self._items.append(item)
        self.touch()

    def touch(self) -> None:
        """Wake everyone who waits: something changed, perhaps outside the list."""
        with self._changed:
            self._changed.notify_all()
        for listener in tuple(self.listeners):
            listener()

    def since(self, position: int = 0) -> list[Item]:
        """A copy of everything from ``position`` on."""
        with self._changed:
            return self._items[position:]

    def wait(self, wanted: Callable[[Item], bool], *, position: int = 0, within: float) -> Item | None:
        """The first item from ``position`` on that is ``wanted``; ``None`` after ``within`` seconds."""
        end = time.monotonic() + within
        with self._changed:
            while True:
                for index in range(position, len(self._items)):
                    if wanted(self._items[index]):
                        return self._items[index]
                position = max(position, len(self._items))
                left = end - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(left)

    def wait_until(self, condition: Callable[[], bool], *, within: float) -> bool:
        """Whether ``condition`` holds within ``within`` seconds; asked again after every change."""
        with self._changed:
            return self._changed.wait_for(condition, within)
