"""A clock that can be moved: by its owner, or by the process that it follows."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from hil.clock.loops import MovableLoopClock
from hil.clock.parts import Advanced, Parts, Report
from hil.clock.timers import Timers
from hil.clock.types import LoopClock, Timer, Worker

_REST_WITHIN = 10.0  # real seconds for one worker


@dataclass(frozen=True, slots=True)
class Reading:
    """How a clock stands to the system's, which all processes of a machine share.

    ``shift``: seconds it is ahead of ``time.monotonic()``; ``held``: the moment at which it stands, ``None`` while it
    runs; ``wall``: seconds from its ``monotonic()`` to its ``time()``.
    """

    shift: float
    held: float | None
    wall: float

    @classmethod
    def of_system(cls) -> Reading:
        """Not moved yet."""
        return cls(0.0, None, time.time() - time.monotonic())


class MovableClock:
    """Runs at real pace; :meth:`advance` takes it forward, with everything that is due on the way.

    ``stands``: between two advances it stands still, for tests that are to see the same every time. ``reading`` is
    where it begins: a follower's is its leader's.
    """

    def __init__(self, *, stands: bool = False, reading: Reading | None = None) -> None:
        begin = reading or Reading.of_system()
        self._shift, self._held, self._wall = begin.shift, begin.held, begin.wall
        self.name = f"{os.path.basename(sys.argv[0]) or 'python'} (process {os.getpid()})"
        self.stands = stands
        self._timers = Timers(self.monotonic, lambda: self._held is None)
        self._workers: tuple[Worker, ...] = ()
        self._attaching = threading.Lock()
        self._loop_clock = MovableLoopClock(self)
        self.parts = Parts(self, stands=stands)
        if stands:
            self.hold()

    @property
    def reading(self) -> Reading:
        """How it stands now."""
        return Reading(self._shift, self._held, self._wall)

    # What everybody asks (see :class:`~hil.clock.types.Clock`)

    def monotonic(self) -> float:
        held = self._held
        return time.monotonic() + self._shift if held is None else held

    def time(self) -> float:
        return self.monotonic() + self._wall

    def call_at(self, when: float, callback: Callable[[], object]) -> Timer:
        return self._timers.add(when, callback)

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        return self._timers.add(self.monotonic() + delay, callback)

    def wait(self, condition: threading.Condition, timeout: float | None) -> None:
        if timeout is not None and timeout <= 0:
            return

        def wake() -> None:
            with condition:
                condition.notify_all()

        timer = None if timeout is None else self.call_later(timeout, wake)
        try:
            condition.wait()
        finally:
            if timer is not None:
                timer.cancel()

    def on_loop(self) -> LoopClock:
        return self._loop_clock

    def attach(self, worker: Worker) -> None:
        with self._attaching:
            self._workers = (*(one for one in self._workers if not one.ended), worker)

    # Moving it

    def advance(self, seconds: float) -> Advanced:
        """Go ``seconds`` forward. Every timer due on the way fires in the order of its due time and sees that time;
        returns when all have, in the followers too.

        Raises ``ClockError``: not forward, asked on a thread that is itself moved, a follower that does not answer,
        or timers that arm each other without end.
        """
        return self.parts.advance(seconds)

    # What the mover asks of this part (see :class:`~hil.clock.parts.Part`)

    def hold(self) -> float:
        """Stand still from now on."""

        def stop() -> None:
            self._held = self.monotonic()

        self._timers.turned(stop)
        return self.monotonic()

    def step(self, moment: float) -> Report:
        """Stand at ``moment``, which is not before now; do what is due and come to rest."""
        self._held = max(self.monotonic(), moment)
        fired = self._timers.fire(moment)
        workers = [worker for worker in self._workers if not worker.ended]
        changes = sum(worker.settle(_REST_WITHIN) for worker in workers)
        return Report(changes + self._timers.changes, self._timers.next_due(), fired, alone=not workers)

    def run(self, shift: float) -> None:
        """Go on at real pace, ``shift`` seconds ahead of ``time.monotonic()``; never back."""

        def go() -> None:
            self._shift = max(shift, self.monotonic() - time.monotonic())
            self._held = None

        self._timers.turned(go)
