"""DTLS sessions on disk, so that a restarted cloud goes on where the killed one stopped.

The hard part is the record number: one that was used must never be used again, since the cipher's safety rests
on it. What is stored is therefore always good for :data:`RESERVE` more records; a restored session starts
behind them, and whoever sends stores the session again before the reserve is used up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hil.cloud.state.store import Store
from hil.errors import WireError
from hil.wire.dtls import Session

RESERVE = 256  # records, and message ids

_SCHEMA = (
    """
    CREATE TABLE dtls_sessions (
        device_id TEXT PRIMARY KEY, name TEXT NOT NULL, state BLOB NOT NULL, host TEXT NOT NULL,
        port INTEGER NOT NULL, next_mid INTEGER NOT NULL, online INTEGER NOT NULL, saved_at REAL NOT NULL
    )
    """,
)


@dataclass(frozen=True, slots=True)
class StoredSession:
    """A session taken from the store, ready for use. ``saved_at`` in seconds since 1970."""

    device_id: str
    name: str
    session: Session
    address: tuple[str, int]
    next_mid: int
    online: bool
    saved_at: float


class SessionStore:
    """One DTLS session per device: the one its last Hello or record came in."""

    def __init__(self, store: Store) -> None:
        self._store = store
        store.migrate("dtls_sessions", _SCHEMA)

    def save(
        self,
        device_id: str,
        name: str,
        session: Session,
        address: tuple[str, int],
        *,
        next_mid: int,
        online: bool,
    ) -> None:
        """Store a session as it is now."""
        self._store.execute(
            "INSERT OR REPLACE INTO dtls_sessions VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            device_id,
            name,
            session.to_bytes(),
            *address,
            next_mid,
            online,
            self._store.now(),
        )

    def after_commit(self, callback: Callable[[], object]) -> None:
        """Call ``callback`` once what was saved last is committed."""
        self._store.after_commit(callback)

    def delete(self, device_id: str, name: str) -> None:
        """Forget a session, unless the device has a newer one by now."""
        self._store.execute("DELETE FROM dtls_sessions WHERE device_id=? AND name=?", device_id, name)

    def load(self) -> list[StoredSession]:
        """All sessions, each moved behind its reserve. One that does not parse is dropped."""
        found = []
        for row in self._store.query("SELECT * FROM dtls_sessions"):
            try:
                session = Session.from_bytes(row["state"], skip=RESERVE)
            except WireError:
                self.delete(row["device_id"], row["name"])
                continue
            found.append(
                StoredSession(
                    row["device_id"],
                    row["name"],
                    session,
                    (row["host"], row["port"]),
                    (row["next_mid"] + RESERVE) & 0xFFFF,
                    bool(row["online"]),
                    row["saved_at"],
                )
            )
        return found
