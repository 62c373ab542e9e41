"""What happens in a cloud, one entry after the other: the one stream that live logs and consoles are made of.

Entries come on the cloud's loop, after what they tell is stored, each with what it has cost.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from hil.cloud.state.happenings import Happening

KEPT = 1000  # entries that somebody who comes late can still see


@dataclass(frozen=True, slots=True)
class Cost:
    """What a row of the ledger says: ``count`` Data Operations of ``kind``."""

    kind: str
    count: int


@dataclass(frozen=True, slots=True)
class Entry:
    """``at`` in seconds since 1970. ``device`` is its name, empty with an unknown peer or none at all."""

    at: float
    device_id: str | None
    device: str
    what: Happening
    costs: tuple[Cost, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The entry in values that JSON knows: the fields of every entry, then those of its kind."""
        moment = datetime.fromtimestamp(self.at, UTC).isoformat(timespec="milliseconds")
        return {
            "at": moment.replace("+00:00", "Z"),
            "kind": self.what.kind,
            "device": self.device or None,
            "device_id": self.device_id,
            "costs": {cost.kind: cost.count for cost in self.costs},
            **asdict(self.what),
        }


class Activity:
    """The stream. ``listeners`` are called with each entry on the cloud's loop, and must not block it.

    ``name_of`` gives the name of a device by its id, empty for one that is not known. ``now`` is the time of
    entries, in seconds since 1970.
    """

    def __init__(self, name_of: Callable[[str], str], now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._name_of = name_of
        self._recent: deque[Entry] = deque(maxlen=KEPT)
        self.listeners: list[Callable[[Entry], None]] = []

    def tell(self, device_id: str | None, what: Happening, costs: Sequence[Cost] = ()) -> None:
        """Say what happened, to or by which device."""
        name = self._name_of(device_id) if device_id else ""
        entry = Entry(self._now(), device_id, name, what, tuple(costs))
        self._recent.append(entry)
        for listener in tuple(self.listeners):
            listener(entry)

    def recent(self) -> list[Entry]:
        """The last entries, oldest first."""
        return list(self._recent)
