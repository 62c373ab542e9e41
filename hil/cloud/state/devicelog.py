"""One log per device of what passed between it and the cloud, in words, for people who look for a fault."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass

from hil.cloud.config import Retention
from hil.cloud.state.activity import Activity
from hil.cloud.state.happenings import Noted
from hil.cloud.state.journal import Journal
from hil.cloud.state.store import Store
from hil.cloud.state.trimming import Trim
from hil.cloud.state.trouble import StateFailed
from hil.printable import printable

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
    """The lines of all devices: the newest in memory, and in the store as long as ``retention`` says."""

    def __init__(self, store: Store, activity: Activity, retention: Retention | None = None) -> None:
        kept = retention or Retention()
        self._store = store
        self._activity = activity
        self.journal: Journal[LogLine] = Journal(kept.journal)
        store.migrate("device_log", _SCHEMA)
        self._trim = Trim(store, "device_log", "at", rows=kept.log_lines, days=kept.days)

    def add(self, device_id: str | None, line: str, *, told: bool = False) -> None:
        """Note ``line`` about a device, or about an unknown peer.

        ``told``: the activity hears of it in an entry of another kind.
        """
        entry = LogLine(self._store.now(), device_id, line)
        with suppress(StateFailed):  # a note is not worth a refusal: whoever listens has it all the same
            self._store.execute(
                "INSERT INTO device_log (device_id, at, line) VALUES (?, ?, ?)", device_id, entry.at, line
            )
            self._trim.added()
        self.journal.append(entry)
        if not told:
            self._activity.tell(device_id, Noted(line))

    def lines(self, device_id: str, since: float = 0.0) -> list[str]:
        """The lines of one device from ``since`` (seconds since 1970) on, oldest first, earlier runs too."""
        rows = self._store.query(
            "SELECT * FROM device_log WHERE device_id=? AND at>=? ORDER BY id", device_id, since
        )
        return [str(LogLine(row["at"], row["device_id"], row["line"])) for row in rows]
