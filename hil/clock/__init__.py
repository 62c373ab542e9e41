"""The one clock of a run: what waits for protocol time asks it, and a test can move it.

A :class:`Clock` is handed in by constructor; nothing looks it up. :class:`SystemClock` is the real time.
:class:`MovableClock` runs at real pace until it is advanced: then everything that is due on the way happens in the
order in which it is due, here and in every process that follows it (:mod:`hil.clock.server`).

What waits for a real thing (USB, a subprocess, a test's patience) is on real time and does not ask a clock.
"""

from hil.clock.movable import MovableClock
from hil.clock.system import SystemClock
from hil.clock.types import Clock, ClockError, LoopClock, Timer

__all__ = ["Clock", "ClockError", "LoopClock", "MovableClock", "SystemClock", "Timer"]
