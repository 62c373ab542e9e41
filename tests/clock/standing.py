"""A clock for tests that compare moments exactly."""

from __future__ import annotations

from hil.clock import MovableClock
from hil.clock.movable import Reading

BEGIN = 1000.0  # monotonic seconds: small, so that sums of whole seconds are exact
EPOCH = 1_700_000_000.0  # seconds since 1970


def standing_clock() -> MovableClock:
    """A clock that stands at :data:`BEGIN`, which is :data:`EPOCH` for people."""
    return MovableClock(stands=True, reading=Reading(0.0, BEGIN, EPOCH - BEGIN))
