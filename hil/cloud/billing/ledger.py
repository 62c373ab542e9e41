"""Data Operations: one row for every billable thing, with its cause. A retry is a row of its own.

Rows that are older or more than the cloud keeps are folded: what they were worth stays for ever, as one sum per
day (UTC), device and kind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from hil.cloud.billing.tariff import RULES, Tariff
from hil.cloud.config import Retention
from hil.cloud.session.meter import Charge
from hil.cloud.state.activity import Cost
from hil.cloud.state.journal import Journal
from hil.cloud.state.store import Store
from hil.cloud.state.trimming import DAY, Trim

MIGRATIONS = (
    """
    CREATE TABLE operations (
        id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, device_id TEXT, owner TEXT,
        cause TEXT NOT NULL, at REAL NOT NULL, count INTEGER NOT NULL
    );
    CREATE INDEX operations_of_owner ON operations(owner, at)
    """,
    """
    CREATE TABLE operation_days (
        owner TEXT NOT NULL, day INTEGER NOT NULL, device_id TEXT NOT NULL, kind TEXT NOT NULL,
        count INTEGER NOT NULL, PRIMARY KEY (owner, day, device_id, kind)
    ) WITHOUT ROWID
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


@dataclass(frozen=True, slots=True)
class DaySum:
    """What is left of folded rows. ``day``: whole days since 1970 in UTC; owner and device empty for none."""

    owner: str
    day: int
    device_id: str
    kind: str
    count: int


Gate = Callable[[Charge], bool]


class Ledger:
    """The billing rows of one cloud; the :class:`~hil.cloud.session.meter.Meter` of its sessions.

    ``gate`` decides whether a billable thing may happen at all (a paused account answers no); it is asked by
    the cloud before the thing happens, through :meth:`allowed`.
    """

    def __init__(self, store: Store, tariff: Tariff, retention: Retention | None = None) -> None:
        kept = retention or Retention()
        self._store = store
        self._tariff = tariff
        self._trim = Trim(store, "operations", "at", rows=kept.operations, days=kept.days, before=self._fold)
        self.journal: Journal[Operation] = Journal(kept.journal)
        # By kind since this cloud was started, so that the sum of a long run needs no row of it.
        self.spent: Counter[str] = Counter()
        self.gate: Gate = lambda _charge: True
        newest = store.query("SELECT * FROM operations ORDER BY id DESC LIMIT ?", kept.journal)
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
        row = Operation(row_id, kind, charge.device_id, charge.owner, charge.cause, now, count)
        self._store.after_commit(partial(self._stored, row))
        self._trim.added()
        charge.bill.add(charge.cause, Cost(kind, count))

    def _stored(self, row: Operation) -> None:
        self.spent[row.kind] += row.count
        self.journal.append(row)

    def rows(self, *, owner: str | None = None, since: float = 0.0) -> list[Operation]:
        """Rows that are still kept, oldest first: of one owner or of all, from ``since`` (seconds) on."""
        rows = self._store.query(
            "SELECT * FROM operations WHERE at >= ? AND (? IS NULL OR owner = ?) ORDER BY id",
            since,
            owner,
            owner,
        )
        return [Operation(**dict(row)) for row in rows]

    def total(self, owner: str, since: float = 0.0) -> int:
        """How many Data Operations ``owner`` has used since ``since`` (seconds since 1970).

        Folded rows count by whole days (UTC): those of the day of ``since`` that came before it too.
        """
        row = self._store.one(
            "SELECT (SELECT COALESCE(SUM(count), 0) FROM operations WHERE owner=? AND at>=?)"
            " + (SELECT COALESCE(SUM(count), 0) FROM operation_days WHERE owner=? AND day>=?) AS total",
            owner,
            since,
            owner,
            int(since // DAY),
        )
        return int(row["total"]) if row else 0

    def days(self) -> list[DaySum]:
        """What is left of folded rows, by owner, day, device and kind."""
        rows = self._store.query("SELECT * FROM operation_days ORDER BY owner, day, device_id, kind")
        return [DaySum(**dict(row)) for row in rows]

    def _fold(self, last: int) -> None:
        """Add the rows up to id ``last``, which are about to go, to the sums of their days."""
        self._store.execute(
            "INSERT INTO operation_days (owner, day, device_id, kind, count)"
            " SELECT COALESCE(owner, ''), CAST(at / ? AS INTEGER), COALESCE(device_id, ''), kind, SUM(count)"
            " FROM operations WHERE id<=? GROUP BY 1, 2, 3, 4"
            " ON CONFLICT DO UPDATE SET count = count + excluded.count",
            DAY,
            last,
        )
