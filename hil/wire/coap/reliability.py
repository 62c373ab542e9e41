"""CoAP reliability over datagrams: sending again what is not acknowledged, noticing what comes twice.

Figures: protocol fact sheet 2.8 (ACK timeout 4 s, up to half as much again at random, 4 sends in all;
duplicates are known for 45 s) and section 10. Time is passed in as monotonic seconds.
"""

from __future__ import annotations

import random as _random
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

ACK_TIMEOUT = 4.0
RANDOM_FACTOR = 1.5
MAX_RETRANSMIT = 3
DUPLICATE_WINDOW = 45.0


@dataclass(slots=True)
class _Outstanding:
    data: bytes
    timeout: float
    deadline: float
    resends: int = 0


class Retransmitter:
    """The confirmable messages that wait for their acknowledgement.

    Waits double after each send: with the defaults 4 to 6, 8 to 12, 16 to 24 and 32 to 48 s, after which the
    message has failed. ``random`` gives numbers from 0 to 1.
    """

    def __init__(
        self,
        ack_timeout: float = ACK_TIMEOUT,
        random_factor: float = RANDOM_FACTOR,
        max_retransmit: int = MAX_RETRANSMIT,
        random: Callable[[], float] = _random.random,
    ) -> None:
        self._ack_timeout = ack_timeout
        self._spread = random_factor - 1.0
        self._max_retransmit = max_retransmit
        self._random = random
        self._outstanding: dict[int, _Outstanding] = {}

    def __len__(self) -> int:
        """How many messages wait."""
        return len(self._outstanding)

    def __contains__(self, mid: int) -> bool:
        return mid in self._outstanding

    def track(self, mid: int, data: bytes, now: float) -> None:
        """``data`` has just been sent as message ``mid``; an older message of that id is forgotten."""
        timeout = self._ack_timeout * (1.0 + self._spread * self._random())
        self._outstanding[mid] = _Outstanding(data, timeout, now + timeout)

    def acknowledge(self, mid: int) -> bool:
        """The peer answered ``mid`` (ACK or RST): forget it. False when it was not outstanding."""
        return self._outstanding.pop(mid, None) is not None

    def due(self, now: float) -> list[bytes]:
        """What to send again now, oldest first; each counts as sent at ``now``."""
        resend = []
        for entry in self._outstanding.values():
            if entry.deadline <= now and entry.resends < self._max_retransmit:
                entry.resends += 1
                entry.timeout *= 2
                entry.deadline = now + entry.timeout
                resend.append(entry.data)
        return resend

    def failed(self, now: float) -> list[int]:
        """Ids of the messages whose last wait is over; they are forgotten."""
        gone = [
            mid
            for mid, entry in self._outstanding.items()
            if entry.deadline <= now and entry.resends >= self._max_retransmit
        ]
        for mid in gone:
            del self._outstanding[mid]
        return gone

    def next_deadline(self) -> float | None:
        """When ``due`` and ``failed`` should be asked next; ``None`` when nothing waits."""
        return min((entry.deadline for entry in self._outstanding.values()), default=None)

    def clear(self) -> None:
        """Forget everything: the session is over."""
        self._outstanding.clear()


class Missing(Enum):
    """The type of ``MISSING``."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING


class Deduplicator:
    """The confirmable messages of the peer seen in the last ``window`` seconds, with the replies they got."""

    def __init__(self, window: float = DUPLICATE_WINDOW) -> None:
        self._window = window
        # In order of first sight, so what has expired is always in front.
        self._seen: dict[int, tuple[float, bytes | None]] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def lookup(self, mid: int, now: float) -> bytes | Missing | None:
        """The reply that ``mid`` got: send it again. ``None``: seen, no reply yet. ``MISSING``: new."""
        self._expire(now)
        entry = self._seen.get(mid)
        return MISSING if entry is None else entry[1]

    def remember(self, mid: int, reply: bytes | None, now: float) -> None:
        """``mid`` was received and got ``reply``, or gets one later (``None``).

        The window runs from the first time ``mid`` was remembered.
        """
        self._expire(now)
        first_seen = self._seen[mid][0] if mid in self._seen else now
        self._seen[mid] = (first_seen, reply)

    def _expire(self, now: float) -> None:
        while self._seen:
            mid, (first_seen, _) = next(iter(self._seen.items()))
            if now - first_seen < self._window:
                return
            del self._seen[mid]
