"""The timeline of one test: what was done when, how long it took and how it ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from hil.observe import Outcome, Step, brief
from hil.report.columns import time_of_day


@dataclass(slots=True)
class Entry:
    """A step. Times are in seconds since 1970; ``ended`` is ``None`` while it goes on."""

    title: str
    depth: int
    began: float
    ended: float | None = None
    outcome: Outcome | None = None

    def line(self) -> str:
        """``12:00:00.000    0.250 s  cloud call(argon-1, add, 3) = 7``, steps within steps set in."""
        took = f"{self.ended - self.began:8.3f} s" if self.ended is not None else "   goes on"
        return f"{time_of_day(self.began)} {took}  {'  ' * self.depth}{self.title}{_ending(self.outcome)}"


class Timeline:
    """An observer that writes down every step. ``now`` gives seconds since 1970."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self.entries: list[Entry] = []
        self._now = now
        self._open: dict[Step, Entry] = {}
        self._guard = threading.Lock()

    def begin(self, step: Step) -> None:
        entry = Entry(step.title, step.depth, self._now())
        with self._guard:
            self.entries.append(entry)
            self._open[step] = entry

    def end(self, step: Step, outcome: Outcome) -> None:
        with self._guard:
            entry = self._open.pop(step)
        entry.outcome = outcome
        entry.ended = self._now()

    def text(self) -> str:
        """One line per step, in the order in which they began."""
        with self._guard:
            return "".join(f"{entry.line()}\n" for entry in self.entries)


def _ending(outcome: Outcome | None) -> str:
    if outcome is None:
        return ""
    if outcome.error is not None:
        first = (str(outcome.error).splitlines() or [""])[0]
        return (
            f": {type(outcome.error).__name__}: {brief(first)}"
            if first
            else f": {type(outcome.error).__name__}"
        )
    return "" if outcome.result is None else f" = {brief(outcome.result)}"
