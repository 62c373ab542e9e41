"""Timers in the order in which they are due, and the thread that fires them at real pace."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
from collections.abc import Callable

from hil.clock.types import ClockError

_LOG = logging.getLogger(__name__)
_AT_ONE_MOMENT = 10_000  # timers; more of them arm each other again and again
_SWEEP = 100  # cancelled timers that may lie about, however few others there are


class _Entry:
    """One timer. ``when`` in the clock's monotonic seconds."""

    __slots__ = ("callback", "cancelled", "timers", "when")

    def __init__(self, timers: Timers, when: float, callback: Callable[[], object]) -> None:
        self.timers = timers
        self.when = when
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.timers.cancel(self)


class Timers:
    """The timers of one clock; safe from any thread. ``monotonic`` is its time.

    ``running``: whether time goes by itself, so that a thread fires what is due. The thread starts with the first
    timer.
    """

    def __init__(self, monotonic: Callable[[], float], running: Callable[[], bool]) -> None:
        self._monotonic = monotonic
        self._running = running
        self._heap: list[tuple[float, int, _Entry]] = []
        self._numbers = itertools.count()
        self._cancelled = 0
        self._changed = threading.Condition()
        self._firing = threading.Lock()
        self._firing_thread: int | None = None
        self._thread: threading.Thread | None = None
        self.changes = 0  # grows with every timer that is armed, cancelled or fired

    def add(self, when: float, callback: Callable[[], object]) -> _Entry:
        """Arm a timer. Of two that are due at the same moment the one armed first comes first."""
        entry = _Entry(self, when, callback)
        with self._changed:
            self.changes += 1
            heapq.heappush(self._heap, (when, next(self._numbers), entry))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="clock", daemon=True)
                self._thread.start()
            elif self._heap[0][2] is entry:
                self._changed.notify()
        return entry

    def cancel(self, entry: _Entry) -> None:
        """The timer is not to fire; nothing when it has."""
        with self._changed:
            if entry.cancelled:
                return
            entry.cancelled = True
            self.changes += 1
            self._cancelled += 1
            if self._cancelled > max(_SWEEP, len(self._heap) // 2):
                self._heap = [item for item in self._heap if not item[2].cancelled]
                heapq.heapify(self._heap)
                self._cancelled = 0

    def next_due(self) -> float | None:
        """When the next timer is due."""
        with self._changed:
            return self._next_due()

    def _next_due(self) -> float | None:
        while self._heap and self._heap[0][2].cancelled:
            heapq.heappop(self._heap)
            self._cancelled = max(0, self._cancelled - 1)
        return self._heap[0][0] if self._heap else None

    def _pop(self, moment: float) -> _Entry | None:
        with self._changed:
            due = self._next_due()
            if due is None or due > moment:
                return None
            entry = heapq.heappop(self._heap)[2]
            entry.cancelled = True
            self.changes += 1
            return entry

    def fire(self, moment: float, *, only_running: bool = False) -> int:
        """Fire everything that is due at ``moment``, in order, what is armed meanwhile too; returns how many.

        Raises ``ClockError`` when timers arm each other at this moment without end.
        """
        self.refuse_inside()
        with self._firing:
            self._firing_thread = threading.get_ident()
            try:
                for fired in range(_AT_ONE_MOMENT):
                    entry = None if only_running and not self._running() else self._pop(moment)
                    if entry is None:
                        return fired
                    _call(entry)
            finally:
                self._firing_thread = None
        raise ClockError(
            f"{_AT_ONE_MOMENT} timers fired at one moment and there are more",
            hint="a timer that arms itself again needs a delay",
        )

    def refuse_inside(self) -> None:
        """Raise ``ClockError`` on a thread that fires a timer just now: it would wait for itself."""
        if self._firing_thread == threading.get_ident():
            raise ClockError("a timer's callback cannot move the clock", hint="move it from another thread")

    def turned(self, turn: Callable[[], None]) -> None:
        """Do ``turn``, which starts or stops the time, while no timer fires at real pace."""
        self.refuse_inside()
        with self._firing:
            turn()
        with self._changed:
            self._changed.notify()

    def _work(self) -> None:
        while True:
            with self._changed:
                while (left := self._left()) is None or left > 0:
                    self._changed.wait(left)
            self.fire(self._monotonic(), only_running=True)

    def _left(self) -> float | None:
        due = self._next_due() if self._running() else None
        return None if due is None else due - self._monotonic()


def _call(entry: _Entry) -> None:
    try:
        entry.callback()
    except Exception:
        _LOG.exception("a timer's callback failed: %r", entry.callback)
