"""What a test asserts on: events and Data Operations since a mark. Looking never consumes.

A failed expectation says what was seen instead.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from hil.cloud.billing.ledger import Ledger, Operation
from hil.cloud.state.events import CloudEvent
from hil.cloud.state.journal import Journal
from hil.cloud.state.names import DeviceRef, device_id_of
from hil.observe import verb
from hil.printable import printable

_SHOWN = 20  # events in the message of a failed expectation


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment of one cloud: positions in all its logs. ``at`` in seconds since 1970.

    Positions hold for as long as the cloud runs, and logs keep their newest entries only: to look back to a mark
    whose entries are gone is an error. ``spent``: Data Operations by kind since the start, which are never gone.
    """

    events: int
    operations: int
    contacts: int
    lines: int
    at: float
    spent: dict[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The mark as reports show it: its time of day."""
        return time.strftime("%H:%M:%S", time.localtime(self.at))


class EventLog:
    """The events of one cloud, of every owner. ``begin`` sets where "since the start of the test" is."""

    actor = "cloud events"

    def __init__(self, journal: Journal[CloudEvent], mark: Callable[[], Mark]) -> None:
        self._journal = journal
        self._mark = mark
        self._start = 0

    def begin(self) -> Mark:
        """What follows belongs to a new test."""
        mark = self._mark()
        self._start = mark.events
        return mark

    def mark(self) -> Mark:
        """This moment, to look back to."""
        return self._mark()

    def all(
        self, prefix: str = "", source: DeviceRef | None = None, since: Mark | None = None
    ) -> list[CloudEvent]:
        """Events whose name starts with ``prefix``, oldest first; ``source`` is the device they came from."""
        device_id = device_id_of(source) if source is not None else None
        return [
            event
            for event in self._journal.since(self._position(since))
            if event.name.startswith(prefix) and device_id in (None, event.device_id)
        ]

    @verb
    def expect(
        self,
        name: str,
        *,
        data: str | None = None,
        source: DeviceRef | None = None,
        within: float = 5.0,
        since: Mark | None = None,
    ) -> CloudEvent:
        """The first event of exactly this name (and data, and source), waiting ``within`` seconds for it.

        Raises ``AssertionError`` that says what was seen instead.
        """
        position = self._position(since)
        event = self._journal.wait(_wanted(name, data, source), position=position, within=within)
        if event is None:
            raise AssertionError(self._missed(name, data, source, within, position))
        return event

    @verb
    def absent(
        self, name: str, *, source: DeviceRef | None = None, within: float, since: Mark | None = None
    ) -> bool:
        """Whether no event of exactly this name is there or comes within ``within`` seconds."""
        wanted = _wanted(name, None, source)
        return self._journal.wait(wanted, position=self._position(since), within=within) is None

    def _position(self, since: Mark | None) -> int:
        return self._start if since is None else since.events

    def _missed(
        self, name: str, data: str | None, source: DeviceRef | None, within: float, position: int
    ) -> str:
        wanted = f"event {name}"
        wanted += f" with data {data!r}" if data is not None else ""
        wanted += f" from {device_id_of(source)}" if source is not None else ""
        seen = self._journal.since(position)
        lines = [
            f"  {printable(event.name)} = {event.data!r} from {event.device_id or 'the API'}"
            for event in seen
        ]
        if len(lines) > _SHOWN:
            lines = [f"  ... {len(lines) - _SHOWN} earlier ones", *lines[-_SHOWN:]]
        return "\n".join(
            [f"no {wanted} within {within:g} s; seen since then:", *(lines or ["  no event at all"])]
        )


def _wanted(name: str, data: str | None, source: DeviceRef | None) -> Callable[[CloudEvent], bool]:
    device_id = device_id_of(source) if source is not None else None

    def wanted(event: CloudEvent) -> bool:
        if event.name != name or device_id not in (None, event.device_id):
            return False
        return data is None or event.data == data

    return wanted


class OperationsView:
    """The Data Operations of one cloud."""

    actor = "operations"

    def __init__(self, ledger: Ledger, mark: Callable[[], Mark]) -> None:
        self._ledger = ledger
        self._journal = ledger.journal
        self._mark = mark
        self._start = mark()

    def begin(self) -> Mark:
        """What follows belongs to a new test."""
        self._start = self._mark()
        return self._start

    def mark(self) -> Mark:
        """This moment, to look back to."""
        return self._mark()

    def from_here(self) -> Spending:
        """What is spent from this moment on."""
        return Spending(self, self._mark())

    def rows(self, since: Mark | None = None, device: DeviceRef | None = None) -> list[Operation]:
        """One row per billable thing, oldest first."""
        device_id = device_id_of(device) if device is not None else None
        rows = self._journal.since((since or self._start).operations)
        return [row for row in rows if device_id in (None, row.device_id)]

    def spent(self, since: Mark | None = None, device: DeviceRef | None = None) -> dict[str, int]:
        """Data Operations by kind; empty when nothing was spent. Without ``device`` however long ago it began."""
        if device is None:
            return dict(Counter(dict(self._ledger.spent)) - Counter((since or self._start).spent))
        total: Counter[str] = Counter()
        for row in self.rows(since, device):
            total[row.kind] += row.count
        return dict(total)

    @verb
    def expect(
        self, spent: dict[str, int], *, within: float = 5.0, since: Mark | None = None
    ) -> list[Operation]:
        """Wait until exactly ``spent`` is spent, and return the rows. Raises ``AssertionError``."""
        if not self._journal.wait_until(lambda: self.spent(since) == spent, within=within):
            causes = [f"  {row.kind} {row.count}: {printable(row.cause)}" for row in self.rows(since)]
            raise AssertionError(
                "\n".join([f"expected {spent}, spent {self.spent(since)}:", *(causes or ["  nothing"])])
            )
        return self.rows(since)


class Spending:
    """The Data Operations since one moment, such as the beginning of a test."""

    def __init__(self, view: OperationsView, since: Mark) -> None:
        self._view = view
        self._since = since

    def spent(self, device: DeviceRef | None = None) -> dict[str, int]:
        """Operations by kind, of one device or of all; empty when nothing was spent."""
        return self._view.spent(self._since, device)

    def rows(self, device: DeviceRef | None = None) -> list[Operation]:
        """The rows of the ledger, each with its cause, oldest first."""
        return self._view.rows(self._since, device)
