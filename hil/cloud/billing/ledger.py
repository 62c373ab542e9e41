"""Data Operations: one row for every billable thing, with its cause. A retry is a row of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hil.cloud.billing.tariff import RULES, Tariff
from hil.cloud.session.meter import Charge
from hil.cloud.state.activity import Cost
from hil.cloud.state.journal import Journal
from hil.cloud.state.store import Store

KEPT_IN_MEMORY = 50_000  # of the rows of earlier runs, the newest

MIGRATIONS = (
    """
    CREATE TABLE operations (
        id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, device_id TEXT, owner TEXT,
        cause TEXT NOT NULL, at REAL NOT NULL, count INTEGER NOT NULL
    );
    CREATE INDEX operations_of_owner ON operations(owner, at)
    """,
)


@dataclass(frozen=True, slots=True)
class Operation:
    """One row of the ledger. ``at`` in seconds since 1970, ``count`` in Data Operations."""

    id: int
    kind: str
    device_id: str | None
    owner: str | None
    cause: str
    at: float
    count: int


Gate = Callable[[Charge], bool]


class Ledger:
    """The billing rows of one cloud; the :class:`~hil.cloud.session.meter.Meter` of its sessions.

    ``gate`` decides whether a billable thing may happen at all (a paused account answers no); it is asked by
    the cloud before the thing happens, through :meth:`allowed`.
    """

    def __init__(self, store: Store, tariff: Tariff) -> None:
        self._store = store
        self._tariff = tariff
        self.journal: Journal[Operation] = Journal()
        self.gate: Gate = lambda _charge: True
        newest = store.query("SELECT * FROM operations ORDER BY id DESC LIMIT ?", KEPT_IN_MEMORY)
        for row in reversed(newest):
            self.journal.append(Operation(**dict(row)))

    def allowed(self, charge: Charge) -> bool:
        """Whether it may happen: what is free always may."""
        return self._tariff.cost(charge) == 0 or self.gate(charge)

    def record(self, charge: Charge) -> None:
        """Write the row for ``charge``; none when it is free. Call inside the transaction of its cause."""
        count = self._tariff.cost(charge)
        kind = RULES[charge.action].kind
        if count == 0 or kind is None:
            return
        now = self._store.now()
        row_id = self._store.execute(
            "INSERT INTO operations (kind, device_id, owner, cause, at, count) VALUES (?, ?, ?, ?, ?, ?)",
            kind,
            charge.device_id,
            charge.owner,
            charge.cause,
            now,
            count,
        )
        self.journal.append(Operation(row_id, kind, charge.device_id, charge.owner, charge.cause, now, count))
        charge.bill.add(charge.cause, Cost(kind, count))

    def rows(self, *, owner: str | None = None, since: float = 0.0) -> list[Operation]:
        """Rows from the store, oldest first: of one owner or of all, from ``since`` (seconds) on."""
        rows = self._store.query(
            "SELECT * FROM operations WHERE at >= ? AND (? IS NULL OR owner = ?) ORDER BY id",
            since,
            owner,
            owner,
        )
        return [Operation(**dict(row)) for row in rows]

    def total(self, owner: str, since: float = 0.0) -> int:
        """How many Data Operations ``owner`` has used since ``since`` (seconds since 1970)."""
        row = self._store.one(
            "SELECT COALESCE(SUM(count), 0) AS total FROM operations WHERE owner=? AND at>=?", owner, since
        )
        return int(row["total"]) if row else 0
