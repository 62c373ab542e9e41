"""Tables that grow with every message, kept short: the oldest rows go a few at a time, as new ones come.

A cloud at 95 events a second writes eight million rows a day. Whoever deleted them at once would hold every device up
for seconds, so each :data:`SLICE` of new rows takes some old ones along.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from hil.cloud.state.store import Store
from hil.cloud.state.trouble import StateFailed

SLICE = 256  # rows between two looks
DAY = 86_400.0  # seconds


class Trim:
    """The limits of one table with columns ``id``, which only grows, and ``time_column``, in seconds since 1970.

    ``before`` is called inside the transaction with the id up to which rows are about to go: for their sums.
    """

    def __init__(
        self,
        store: Store,
        table: str,
        time_column: str,
        *,
        rows: int,
        days: float,
        before: Callable[[int], None] = lambda _last: None,
    ) -> None:
        self._store = store
        self._table = table
        self._time_column = time_column
        self._rows = rows
        self._days = days
        self._before = before
        self._added = 0

    def added(self) -> None:
        """One more row is in the transaction under way, or stored already."""
        self._store.after_commit(self._count)

    def _count(self) -> None:
        self._added += 1
        if self._added >= SLICE:
            self._added = 0
            with suppress(StateFailed):  # a full disk, which the next row will tell of
                # Twice as many as came, so that a table that was longer gets down to its limit.
                self.trim(2 * SLICE)

    def trim(self, most: int) -> int:
        """Take away at most ``most`` rows that are beyond the limits, the oldest first. Returns how many went."""
        with self._store.transaction():
            last = self._last_to_go(most)
            if last is None:
                return 0
            self._before(last)
            return self._store.change(f"DELETE FROM {self._table} WHERE id<=?", last)

    def _last_to_go(self, most: int) -> int | None:
        """The id of the last row to go now; times are taken to grow with ids."""
        table, column = self._table, self._time_column
        # Each for itself: together they would look at the whole table.
        ends = self._store.one(
            f"SELECT (SELECT MIN(id) FROM {table}) AS oldest, (SELECT MAX(id) FROM {table}) AS newest"
        )
        if ends is None or ends["oldest"] is None:
            return None
        slice_end = int(ends["oldest"]) + most - 1
        beyond = int(ends["newest"]) - self._rows
        too_old = self._store.one(
            f"SELECT MAX(id) AS id FROM {table} WHERE id<=? AND {column}<?",
            slice_end,
            self._store.now() - self._days * DAY,
        )
        last = min(slice_end, max(beyond, int(too_old["id"] or 0) if too_old else 0))
        return last if last >= int(ends["oldest"]) else None
