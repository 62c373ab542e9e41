"""Data Operations: one row for every billable thing, with its cause.

The table :data:`RULES` is the whole of cloud API fact sheet 4.1 that this cloud covers. A retry is a row of
its own, because delivery is counted by attempt.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from hil.cloud.config import Policy, SizeRule
from hil.cloud.state.journal import Journal
from hil.cloud.state.names import device_request, is_system_event
from hil.cloud.state.store import Store

BLOCK = 1024  # bytes of one Data Operation under the newer rule
MAX_BLOCKS = 16
KEPT_IN_MEMORY = 50_000  # of the rows of earlier runs, the newest
LARGE_EVENTS_SINCE = 6300  # system module version from which a block rule applies

_SCHEMA = (
    """
    CREATE TABLE operations (
        id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, device_id TEXT, owner TEXT,
        cause TEXT NOT NULL, at REAL NOT NULL, count INTEGER NOT NULL
    );
    CREATE INDEX operations_of_owner ON operations(owner, at)
    """,
)


class Action(Enum):
    """What can happen between a device and the cloud."""

    PUBLISH = auto()  # a device's event reached the cloud
    PUBLISH_AGAIN = auto()  # the same event once more: its acknowledgement was lost
    DELIVERY = auto()  # one attempt to bring an event to a subscribed device
    FUNCTION = auto()  # one attempt to call a function
    VARIABLE = auto()  # one attempt to read a variable
    STORED_POINT = auto()
    REGISTRATION = auto()  # a function, variable or subscription made known
    SESSION = auto()  # handshake, resume, Hello, goodbye
    KEEP_ALIVE = auto()
    TIME = auto()
    DESCRIBE = auto()
    UPDATE = auto()
    API_CALL = auto()


@dataclass(frozen=True, slots=True)
class Rule:
    """``kind`` is the word a row carries; ``None`` means that it costs nothing."""

    kind: str | None
    by_size: bool = False
    free_for_system_names: bool = False


_FREE = Rule(None)
RULES: dict[Action, Rule] = {
    Action.PUBLISH: Rule("publish", by_size=True, free_for_system_names=True),
    Action.PUBLISH_AGAIN: Rule("publish", by_size=True, free_for_system_names=True),
    Action.DELIVERY: Rule("subscribe", by_size=True, free_for_system_names=True),
    Action.FUNCTION: Rule("function"),
    Action.VARIABLE: Rule("variable"),
    Action.STORED_POINT: Rule("storage"),
    Action.REGISTRATION: _FREE,
    Action.SESSION: _FREE,
    Action.KEEP_ALIVE: _FREE,
    Action.TIME: _FREE,
    Action.DESCRIBE: _FREE,
    Action.UPDATE: _FREE,
    Action.API_CALL: _FREE,
}


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
class Charge:
    """What happened, as the caller knows it. ``size`` in bytes of data, ``system_version`` of the device."""

    action: Action
    device_id: str | None
    owner: str | None
    cause: str
    event_name: str | None = None
    size: int = 0
    system_version: int | None = None


Gate = Callable[[Charge], bool]


class Ledger:
    """The billing rows of one cloud.

    ``gate`` decides whether a billable thing may happen at all (a paused account answers no); it is asked by
    the cloud before the thing happens, through :meth:`allowed`.
    """

    def __init__(self, store: Store, policy: Policy) -> None:
        self._store = store
        self._policy = policy
        self.journal: Journal[Operation] = Journal()
        self.gate: Gate = lambda _charge: True
        store.migrate("operations", _SCHEMA)
        newest = store.query("SELECT * FROM operations ORDER BY id DESC LIMIT ?", KEPT_IN_MEMORY)
        for row in reversed(newest):
            self.journal.append(Operation(**dict(row)))

    def cost(self, charge: Charge) -> int:
        """How many Data Operations this is worth."""
        rule = RULES[charge.action]
        if rule.kind is None:
            return 0
        if rule.free_for_system_names and charge.event_name is not None and self._is_free(charge.event_name):
            return 0
        return self._blocks(charge) if rule.by_size else 1

    def allowed(self, charge: Charge) -> bool:
        """Whether it may happen: what is free always may."""
        return self.cost(charge) == 0 or self.gate(charge)

    def record(self, charge: Charge) -> Operation | None:
        """Write the row for ``charge`` (``None`` when it is free). Call inside the transaction of its cause."""
        count = self.cost(charge)
        kind = RULES[charge.action].kind
        if count == 0 or kind is None:
            return None
        now = time.time()
        row_id = self._store.execute(
            "INSERT INTO operations (kind, device_id, owner, cause, at, count) VALUES (?, ?, ?, ?, ?, ?)",
            kind,
            charge.device_id,
            charge.owner,
            charge.cause,
            now,
            count,
        )
        operation = Operation(row_id, kind, charge.device_id, charge.owner, charge.cause, now, count)
        self.journal.append(operation)
        return operation

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

    def _is_free(self, name: str) -> bool:
        if self._policy.bill_device_requests and device_request(name) is not None:
            return False
        return is_system_event(name, ignore_case=self._policy.free_names_ignore_case)

    def _blocks(self, charge: Charge) -> int:
        rule = self._policy.size_rule
        if rule is SizeRule.PER_MESSAGE:
            return 1
        if rule is SizeRule.BY_VERSION and (charge.system_version or 0) < LARGE_EVENTS_SINCE:
            return 1
        return min(MAX_BLOCKS, max(1, -(-charge.size // BLOCK)))
