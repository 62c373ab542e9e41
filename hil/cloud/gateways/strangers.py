"""What the log says of peers that nobody knows: a few of each kind in full, the rest as a number.

Whoever reaches a port may knock as often as the network carries, so what a stranger does may cost no line and no
row each time. One that stands before a closed door must be named all the same: that is what a lab looks for.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hil.clock import Timer
from hil.cloud.session.services import Services
from hil.cloud.state.happenings import TurnedAway

WINDOW = 60.0  # seconds
IN_FULL = 8  # strangers of one kind that are named within a window


@dataclass(slots=True)
class _Window:
    """One kind's last minute. ``more`` came beyond those named, the last of them ``last``."""

    until: float
    named: set[str] = field(default_factory=set)
    more: int = 0
    last: str = ""
    timer: Timer | None = None


class Strangers:
    """The strangers of one gateway.

    Within a minute each is named once for each kind of thing that it does, and at most ``IN_FULL`` are; one line
    at the end of the minute counts the rest.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._windows: dict[str, _Window] = {}

    def note(
        self,
        kind: str,
        who: str,
        line: str,
        *,
        device_id: str | None = None,
        turned_away: TurnedAway | None = None,
    ) -> None:
        """Something happened with a stranger.

        ``kind``: what, in words that follow a number ("handshakes that failed"); there must be few of them.
        ``who``: what tells strangers apart. ``line`` goes into the log of ``device_id`` when this one is named;
        ``turned_away`` is what the activity hears then instead of the line.
        """
        window = self._windows.get(kind)
        if window is None or self._services.clock.monotonic() >= window.until:
            window = self._open(kind)
        if who not in window.named and len(window.named) < IN_FULL:
            window.named.add(who)
            self._services.log.add(device_id, line, told=turned_away is not None)
            if turned_away is not None:
                self._services.activity.tell(device_id, turned_away)
            return
        window.more += 1
        window.last = who
        if window.timer is None:
            window.timer = self._services.clock.call_at(window.until, self._sum_up, kind)

    def close(self) -> None:
        """Say what is still to be said."""
        for kind in tuple(self._windows):
            self._sum_up(kind)

    def _open(self, kind: str) -> _Window:
        self._sum_up(kind)
        window = self._windows[kind] = _Window(self._services.clock.monotonic() + WINDOW)
        return window

    def _sum_up(self, kind: str) -> None:
        window = self._windows.pop(kind, None)
        if window is None or window.timer is None:
            return
        window.timer.cancel()
        said = f"{window.more} more {kind} within {WINDOW:g} s, the last from {window.last}"
        self._services.log.add(None, said)
