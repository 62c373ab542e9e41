"""A board's own clock: runs jobs one after the other on one thread, now or later.

Mode changes must not run on the kernel's threads that ask for them: a board that vanishes from the bus inside its own
control transfer would wait for itself.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol

from hil.clock import Clock, SystemClock

Job = Callable[[], None]
_LONGEST_WAIT = 0.2  # real seconds that an advance waits for a job


class Scheduler(Protocol):
    """What a board needs of a clock."""

    def call_later(self, delay: float, job: Job) -> None:
        """Run ``job`` in ``delay`` seconds."""

    def run(self, job: Job) -> None:
        """Run ``job`` and wait until it is done; what it raises is raised here."""

    def close(self) -> None:
        """End; jobs still waiting are dropped."""


class ThreadScheduler:
    """The scheduler of a powered board: a daemon thread that follows ``clock``, the real time unless told."""

    def __init__(self, name: str, clock: Clock | None = None) -> None:
        self._clock: Clock = clock or SystemClock()
        self._jobs: list[tuple[float, int, Job]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._closed = False
        self._busy = False
        self._done = 0
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()
        self._clock.attach(self)

    def call_later(self, delay: float, job: Job) -> None:
        with self._changed:
            heapq.heappush(self._jobs, (self._clock.monotonic() + delay, next(self._numbers), job))
            self._changed.notify_all()

    def run(self, job: Job) -> None:
        if threading.current_thread() is self._thread:
            job()
            return
        done: Future[None] = Future()

        def report() -> None:
            try:
                job()
            except BaseException as error:
                done.set_exception(error)
            else:
                done.set_result(None)

        self.call_later(0.0, report)
        done.result()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=5)

    @property
    def ended(self) -> bool:
        return self._closed

    def settle(self, within: float) -> int:
        """Wait until nothing is due. A job that waits for the time to go on is not waited for long."""
        with self._changed:
            self._changed.wait_for(self._idle, min(within, _LONGEST_WAIT))
            return self._done

    def _idle(self) -> bool:
        due = bool(self._jobs) and self._jobs[0][0] <= self._clock.monotonic()
        return self._closed or not (self._busy or due)

    def _work(self) -> None:
        while (job := self._next()) is not None:
            try:
                job()
            finally:
                self._rest()

    def _rest(self) -> None:
        with self._changed:
            self._busy = False
            self._done += 1
            self._changed.notify_all()

    def _next(self) -> Job | None:
        with self._changed:
            while not self._closed:
                now = self._clock.monotonic()
                if self._jobs and self._jobs[0][0] <= now:
                    self._busy = True
                    return heapq.heappop(self._jobs)[2]
                self._clock.wait(self._changed, self._jobs[0][0] - now if self._jobs else None)
            return None
