"""The publish rate limit that Device OS keeps by itself (protocol fact sheet section 6)."""

from __future__ import annotations

from collections import deque

BURST = 4
WINDOW = 1.0
SYSTEM_BURST = 254
SYSTEM_WINDOW = 65.5
_SYSTEM_PREFIXES = ("spark", "particle")


class _Ring:
    """The times of the last attempts. An attempt that is refused takes a place as well."""

    def __init__(self, burst: int, window: float) -> None:
        self._window = window
        self._recent: deque[float] = deque(maxlen=burst + 1)

    def allows(self, now: float) -> bool:
        self._recent.append(now)
        return len(self._recent) < (self._recent.maxlen or 0) or now - self._recent[0] >= self._window


class PublishRate:
    """Application events: the fifth within a second of the first is refused. System events: the 255th in 65.5 s."""

    def __init__(self) -> None:
        self._application = _Ring(BURST, WINDOW)
        self._system = _Ring(SYSTEM_BURST, SYSTEM_WINDOW)

    def allows(self, name: str, now: float) -> bool:
        """Whether event ``name`` may go out at ``now`` (monotonic seconds); counts the attempt."""
        ring = self._system if name.startswith(_SYSTEM_PREFIXES) else self._application
        return ring.allows(now)
