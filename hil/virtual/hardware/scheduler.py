"""A board's own clock: runs jobs one after the other on one thread, now or later.

Mode changes must not run on the kernel's threads that ask for them: a board that vanishes from the bus inside its own
control transfer would wait for itself.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol

Job = Callable[[], None]


class Scheduler(Protocol):
    """What a board needs of a clock."""

    def call_later(self, delay: float, job: Job) -> None:
        """Run ``job`` in ``delay`` seconds."""

    def run(self, job: Job) -> None:
        """Run ``job`` and wait until it is done; what it raises is raised here."""

    def close(self) -> None:
        """End; jobs still waiting are dropped."""


class ThreadScheduler:
    """The scheduler of a powered board: a daemon thread."""

    def __init__(self, name: str) -> None:
        self._jobs: list[tuple[float, int, Job]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def call_later(self, delay: float, job: Job) -> None:
        with self._changed:
            heapq.heappush(self._jobs, (time.monotonic() + delay, next(self._numbers), job))
            self._changed.notify()

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
            self._changed.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=5)

    def _work(self) -> None:
        while (job := self._next()) is not None:
            job()

    def _next(self) -> Job | None:
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                if self._jobs and self._jobs[0][0] <= now:
                    return heapq.heappop(self._jobs)[2]
                self._changed.wait(self._jobs[0][0] - now if self._jobs else None)
            return None
