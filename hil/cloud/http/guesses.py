"""Guessing passwords: how often somebody may be wrong, and how much of the machine it may cost.

Ten wrong ones in a row block for half an hour (cloud API fact sheet 5). Two rows are counted: that of an address,
whomever it asks for, and that of an address and the user it asks for, which a right password for somebody else does
not end. A user is not blocked for everybody: else anybody could lock him out. Tokens go on working.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from hil.cloud.state.users import User, Users
from hil.errors import Signal

FAILURES = 10  # in a row
BLOCKED = 1800.0  # seconds
_REMEMBERED = 10_000  # rows; the oldest are forgotten
_AT_ONCE = 2  # passwords being hashed
_WAITING = 64

Key = tuple[str, str | None]


class TryLater(Signal):
    """Not now: the caller was wrong too often, or everybody is ``busy``. ``seconds`` until it may be better."""

    def __init__(self, why: str, seconds: int, *, busy: bool = False) -> None:
        super().__init__(why)
        self.why = why
        self.seconds = seconds
        self.busy = busy


@dataclass(slots=True)
class _Row:
    """Failures in a row, and when the last of them was, in the clock's seconds."""

    failures: int = 0
    last: float = 0.0


@dataclass(slots=True)
class Guess:
    """What became of one attempt."""

    right: bool = False


class Guesses:
    """Who has been wrong how often. ``now`` in seconds; addresses in ``exempt`` networks are free."""

    def __init__(self, now: Callable[[], float], exempt: Sequence[str] = ()) -> None:
        self._now = now
        self._exempt = [ip_network(network) for network in exempt]
        self._rows: dict[Key, _Row] = {}

    @contextmanager
    def guess(self, address: str, name: str) -> Iterator[Guess]:
        """Around one attempt of ``address`` to be ``name``. Raises ``TryLater`` when there were too many."""
        guess = Guess()
        if self._free(address):
            yield guess
            return
        keys: tuple[Key, ...] = ((address, None), (address, name[:256]))
        for key in keys:
            self._check(key)
        yield guess
        for key in keys:
            self._count(key, right=guess.right)

    def _free(self, address: str) -> bool:
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        mapped = getattr(parsed, "ipv4_mapped", None) or parsed
        return any(mapped in network for network in self._exempt)

    def _check(self, key: Key) -> None:
        row = self._rows.get(key)
        if row is None:
            return
        left = row.last + BLOCKED - self._now()
        if left <= 0:
            del self._rows[key]
        elif row.failures >= FAILURES:
            minutes = math.ceil(left / 60)
            raise TryLater(
                f"{FAILURES} wrong passwords in a row: try again in {minutes} minutes", math.ceil(left)
            )

    def _count(self, key: Key, *, right: bool) -> None:
        row = self._rows.pop(key, _Row())
        if right:
            return
        self._rows[key] = _Row(row.failures + 1, self._now())
        if len(self._rows) > _REMEMBERED:
            del self._rows[next(iter(self._rows))]


class Passwords:
    """Checks passwords a few at a time, off the loop: one costs as much as a hundred requests."""

    def __init__(self) -> None:
        self._turn = asyncio.Semaphore(_AT_ONCE)
        self._waiting = 0

    async def check(self, users: Users, name: str, password: str) -> User | None:
        """As ``Users.authenticate``. Raises ``TryLater`` when too many wait already."""
        if self._waiting >= _WAITING:
            raise TryLater("too many log in at once: try again", 1, busy=True)
        self._waiting += 1
        try:
            async with self._turn:
                return await asyncio.to_thread(users.authenticate, name, password)
        finally:
            self._waiting -= 1
