"""The thread an application lives on: what it does by itself, and in between what USB and the cloud ask of it.

Everything that is asked waits in one queue, so that a blocked application blocks it all, as on a real board.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from hil.clock import Clock
from hil.errors import Signal

T = TypeVar("T")
_LONGEST_WAIT = 0.2  # real seconds that an advance waits for an application
Complain = Callable[[str, BaseException], None]
"""Told what the application was doing and what it raised."""


class ApplicationFault(Signal):
    """The application raised an error, or ended before it got to the work."""


class Unregistered(ApplicationFault):
    """The application has no function or variable of that name."""


class ApplicationEnded(BaseException):
    """Unwinds the application's thread at a reset; no ``except Exception`` of a twin stops it."""


class Job(Generic[T]):
    """Something to do on the application's thread, and who waits for it."""

    def __init__(self, what: str, function: Callable[[], T], *, cloud: bool) -> None:
        self.what = what
        self.cloud = cloud
        self.future: Future[T] = Future()
        self._function = function

    def run(self, complain: Complain) -> None:
        """Do it, even when whoever asked is gone."""
        wanted = self.future.set_running_or_notify_cancel()
        try:
            result = self._function()
        except Unregistered as error:
            if wanted:
                self.future.set_exception(error)
        except Exception as error:
            complain(self.what, error)
            if wanted:
                self.future.set_exception(ApplicationFault(repr(error)))
        except ApplicationEnded:
            if wanted:
                self.future.set_exception(_ended())
            raise
        else:
            if wanted:
                self.future.set_result(result)

    def abandon(self) -> None:
        """The application ended before its turn came."""
        if self.future.set_running_or_notify_cancel():
            self.future.set_exception(_ended())


class ApplicationThread:
    """Runs ``life`` and the jobs submitted to it, one at a time.

    ``life`` calls ``serve`` or ``process`` where jobs may run; those of the cloud are kept back until it calls
    ``open``, and with ``manual`` they run in ``process`` alone. ``complain`` hears of jobs that raise. A
    ``pause`` lasts as long as ``clock`` says. Between two turns of a loop passes real time, since a loop that polls
    would stop an advance at every turn; it gets one turn at each moment at which an advance stops for something else.
    """

    def __init__(self, complain: Complain, clock: Clock, *, manual: bool = False) -> None:
        self._complain = complain
        self._clock = clock
        self._manual = manual
        self._jobs: queue.SimpleQueue[Job[Any] | None] = queue.SimpleQueue()
        self._kept: deque[Job[Any]] = deque()  # the cloud's, until the application is open to them
        self._keeps = True
        self._lock = threading.Condition()
        self._ended = threading.Event()
        self._pauses: set[threading.Event] = set()  # of jobs, and of other threads
        self._waiting = False  # the application waits for a job, and none is there
        self._done = 0
        self._between_turns = self._hurry = False
        self._turn_at = 0.0  # by the clock
        self._thread: threading.Thread | None = None
        self._busy = False

    @property
    def running(self) -> bool:
        """Whether the thread is there."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def is_current(self) -> bool:
        """Whether the caller is on this thread."""
        return threading.current_thread() is self._thread

    def start(self, life: Callable[[], None]) -> None:
        """Begin."""

        def run() -> None:
            with contextlib.suppress(ApplicationEnded):
                life()

        self._thread = threading.Thread(target=run, name="application", daemon=True)
        self._thread.start()
        self._clock.attach(self)

    @property
    def ended(self) -> bool:
        return not self.running

    def settle(self, within: float) -> int:
        """Wait until the application waits for something, though not long for one that computes."""
        with self._lock:
            if self._between_turns and not self._hurry and self._turn_at != self._clock.monotonic():
                self._hurry, self._waiting = True, False
                self._jobs.put(Job("", lambda: None, cloud=False))
            self._lock.wait_for(lambda: self._waiting or self._ended.is_set(), min(within, _LONGEST_WAIT))
            return self._done

    def stop(self) -> None:
        """End; what still waits gets ``ApplicationFault``. Does not wait for ever for a stuck application."""
        with self._lock:
            self._ended.set()
            for pause in self._pauses:
                pause.set()
        while not self._jobs.empty():
            with contextlib.suppress(queue.Empty):
                job = self._jobs.get_nowait()
                if job is not None:
                    job.abandon()
        self._jobs.put(None)
        if self._thread is not None and not self.is_current:
            self._thread.join(timeout=2)
        while self._kept:
            self._kept.popleft().abandon()

    def submit(self, what: str, function: Callable[[], T], *, cloud: bool = False) -> Future[T]:
        """Run ``function`` when its turn comes. ``what`` names it; ``cloud``: the cloud asked."""
        job = Job(what, function, cloud=cloud)
        with self._lock:
            if not self._ended.is_set():
                self._waiting = False
                self._jobs.put(job)
                return job.future
        job.abandon()
        return job.future

    # -- on the thread -----------------------------------------------------------------------------

    def open(self) -> None:
        """The application may be asked by the cloud from now on."""
        self._keeps = self._manual

    def serve(self, seconds: float | None = None) -> None:
        """Run jobs as they come, for ``seconds`` (no end without them); one that waits is always run."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            if not self._serve_one(left) or (left is not None and left <= 0) or self._hurry:
                return

    def between_turns(self, seconds: float) -> None:
        """Serve for ``seconds``, real ones, or until an advance has moved the clock."""
        self._between_turns = True
        self.serve(seconds)
        with self._lock:
            self._between_turns = self._hurry = False
            self._turn_at = self._clock.monotonic()

    def serve_until(self, done: Callable[[], bool]) -> None:
        """Run jobs until ``done``, which a job makes true."""
        while not done():
            self._serve_one(None)

    def process(self) -> None:
        """Run what waits now, the cloud's jobs kept back included."""
        if self._busy:
            return
        for _ in range(self._jobs.qsize()):
            self._serve_one(0.0)
        for _ in range(len(self._kept)):
            self._run(self._kept.popleft())

    def pause(self, seconds: float) -> None:
        """Wait, serving; within a job only wait. Raises ``ApplicationEnded``."""
        if self.is_current and not self._busy:
            over = threading.Event()
            timer = self._clock.call_later(seconds, lambda: self.submit("delay()", over.set))
            try:
                self.serve_until(over.is_set)
            finally:
                timer.cancel()
        elif self._paused(seconds) and self.is_current:
            raise ApplicationEnded

    def _paused(self, seconds: float) -> bool:
        """Wait and do nothing else; whether the application has ended."""
        over = threading.Event()
        with self._lock:
            self._pauses.add(over)
        timer = self._clock.call_later(seconds, over.set)
        if not self._ended.is_set():
            over.wait()
        timer.cancel()
        with self._lock:
            self._pauses.discard(over)
        return self._ended.is_set()

    def _serve_one(self, timeout: float | None) -> bool:
        """Run the next job; false when none came within ``timeout``. Raises ``ApplicationEnded``."""
        if self._kept and not self._keeps:
            self._run(self._kept.popleft())
            return True
        self._set_waiting(self._jobs.empty)
        try:
            job = self._jobs.get(timeout=None if timeout is None else max(0.0, timeout))
        except queue.Empty:
            self._set_waiting(lambda: False)
            return False
        if job is None:
            self._jobs.put(None)  # for whoever asks next
            raise ApplicationEnded
        if self._keeps and job.cloud:
            self._kept.append(job)
        else:
            self._run(job)
        return True

    def _set_waiting(self, holds: Callable[[], bool]) -> None:
        with self._lock:
            self._waiting = holds()
            self._lock.notify_all()

    def _run(self, job: Job[Any]) -> None:
        self._busy = True
        try:
            job.run(self._complain)
        finally:
            self._busy = False
            self._done += 1


def _ended() -> ApplicationFault:
    return ApplicationFault("the application has ended")
