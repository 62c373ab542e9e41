"""One log per device of what passed between it and the cloud, in words, for people who look for a fault."""

from __future__ import annotations

import time
from dataclasses import dataclass

from hil.cloud.state.activity import Activity
from hil.cloud.state.happenings import Noted
from hil.cloud.state.journal import Journal
from hil.cloud.state.store import Store
from hil.printable import printable

KEPT_LINES = 100_000  # of earlier runs

_SCHEMA = (
    """
    CREATE TABLE device_log (id INTEGER PRIMARY KEY, device_id TEXT, at REAL NOT NULL, line TEXT NOT NULL);
    CREATE INDEX device_log_of ON device_log(device_id, at)
    """,
)


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line; ``device_id`` is ``None`` when the peer is not known (yet). ``at``: seconds since 1970.

    ``line`` is as it was noted, with names as devices gave them; as text it is one line that can be shown.
    """

    at: float
    device_id: str | None
    line: str

    def __str__(self) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(self.at))
        return f"{clock}.{int(self.at * 1000) % 1000:03d} {self.device_id or '-':24} {printable(self.line)}"


class DeviceLog:
    """The lines of all devices. Kept in memory for this run and in the store beyond it."""

    def __init__(self, store: Store, activity: Activity) -> None:
        self._store = store
        self._activity = activity
        self.journal: Journal[LogLine] = Journal()
        store.migrate("device_log", _SCHEMA)
        store.execute("DELETE FROM device_log WHERE id <= (SELECT MAX(id) FROM device_log) - ?", KEPT_LINES)

    def add(self, device_id: str | None, line: str, *, told: bool = False) -> None:
        """Note ``line`` about a device, or about an unknown peer.

        ``told``: the activity hears of it in an entry of another kind.
        """
        entry = LogLine(self._store.now(), device_id, line)
        self._store.execute(
            "INSERT INTO device_log (device_id, at, line) VALUES (?, ?, ?)", device_id, entry.at, line
        )
        self.journal.append(entry)
        if not told:
            self._activity.tell(device_id, Noted(line))

    def lines(self, device_id: str, since: float = 0.0) -> list[str]:
        """The lines of one device from ``since`` (seconds since 1970) on, oldest first, earlier runs too."""
        rows = self._store.query(
            "SELECT * FROM device_log WHERE device_id=? AND at>=? ORDER BY id", device_id, since
        )
        return [str(LogLine(row["at"], row["device_id"], row["line"])) for row in rows]
