"""Taking connections, as many as there is room for: when it is full, the one silent for longest makes room.

asyncio's own servers know no limit, and without a free descriptor they try a thousand times in a row, log each of
them and plan as many retries. Here nobody gets a descriptor that is needed elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import cast

# Connections taken before everybody else on the loop has a turn. Those closed for them give their descriptors back
# only then, so a full pool has up to so many more than its limit, out of the reserve.
_AT_ONCE = 8
_PAUSE = 0.1  # seconds until the next try when the system has nothing to give
_TELL_EVERY = 60.0  # seconds between two lines about the same kind of connection


class Guest(asyncio.Protocol):
    """A connection that its pool may close at any time, even before it has its transport, :attr:`line`."""

    def __init__(self) -> None:
        self.line: asyncio.Transport | None = None
        self._unwanted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.line = cast("asyncio.Transport", transport)
        if self._unwanted:
            self.line.abort()

    def abort(self) -> None:
        """Close at once; what is not sent yet is lost."""
        self._unwanted = True
        if self.line is not None:
            self.line.abort()


class Pool:
    """The connections of one kind, at most ``limit``. ``tell`` takes a line for people, at most one a minute.

    ``closed``: silent ones that made room; ``refused``: newcomers for whom nobody did.
    """

    def __init__(self, kind: str, limit: int, tell: Callable[[str], None]) -> None:
        self.limit = limit
        self.closed = 0
        self.refused = 0
        self._kind = kind
        self._tell = tell
        self._told_at: float | None = None
        # In the order of the last sign of life. Only the first kind may be closed for a newcomer.
        self._expendable: dict[Guest, None] = {}
        self._needed: dict[Guest, None] = {}

    def __len__(self) -> int:
        return len(self._expendable) + len(self._needed)

    def __iter__(self) -> Iterator[Guest]:
        return iter((*self._expendable, *self._needed))

    def note(self, guest: Guest, *, expendable: bool) -> None:
        """``guest`` is here and has just been heard; ``expendable`` while nothing is being done for it."""
        self.forget(guest)
        (self._expendable if expendable else self._needed)[guest] = None

    def forget(self, guest: Guest) -> None:
        """``guest`` is gone."""
        self._expendable.pop(guest, None)
        self._needed.pop(guest, None)

    def make_room(self) -> bool:
        """Whether one more may come, perhaps in place of the one that has been silent for longest."""
        if len(self) < self.limit or self.close_oldest():
            return True
        self.refused += 1
        self.report(f"all {self.limit} {self._kind} connections are in use")
        return False

    def close_oldest(self) -> bool:
        """Close the silent connection that was heard least recently. False when there is none."""
        oldest = next(iter(self._expendable), None)
        if oldest is None:
            return False
        self.forget(oldest)
        oldest.abort()
        self.closed += 1
        self.report(f"{self.limit} {self._kind} connections, the limit: the oldest silent ones are closed")
        return True

    def report(self, what: str) -> None:
        """Tell people ``what`` is the matter, unless they have just been told."""
        now = asyncio.get_running_loop().time()
        if self._told_at is None or now - self._told_at >= _TELL_EVERY:
            self._told_at = now
            self._tell(f"{what} ({self.closed} closed and {self.refused} refused so far)")


def hurry(connection: socket.socket) -> None:
    """Let small messages leave at once instead of waiting until the peer has acknowledged what went before."""
    with contextlib.suppress(OSError):  # a peer that is gone already
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class Acceptor:
    """Takes connections from ``listener``, which listens already, for protocols that ``make`` makes.

    Each is noted in ``pool`` before it has its transport; the protocol itself must say when it is gone. Small
    messages leave at once: TCP_NODELAY is set on every connection.
    """

    def __init__(self, listener: socket.socket, make: Callable[[], Guest], pool: Pool) -> None:
        self._listener = listener
        self._make = make
        self._pool = pool
        self._opening: set[asyncio.Task[None]] = set()
        self._retry: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def start(self) -> None:
        """Take connections from now on."""
        self._listener.setblocking(False)
        self._loop.add_reader(self._listener, self._ready)

    def close(self) -> None:
        """Take no more, and close the listener. Connections stay. May be called twice."""
        if self._listener.fileno() < 0:
            return
        if self._retry is not None:
            self._retry.cancel()
        self._loop.remove_reader(self._listener)
        self._listener.close()
        for task in self._opening:
            task.cancel()

    def _ready(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                connection, _address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._pause(error)
                return
            self._take(connection)

    def _pause(self, error: OSError) -> None:
        """No descriptor or no memory: the listener stays ready, so look away for a moment."""
        self._pool.close_oldest()
        self._pool.report(f"no connection can be accepted: {error.strerror}")
        self._loop.remove_reader(self._listener)
        self._retry = self._loop.call_later(_PAUSE, self.start)

    def _take(self, connection: socket.socket) -> None:
        if not self._pool.make_room():
            connection.close()
            return
        connection.setblocking(False)
        hurry(connection)
        protocol = self._make()
        self._pool.note(protocol, expendable=True)
        task = self._loop.create_task(self._open(protocol, connection))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self, protocol: Guest, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: protocol, connection)
        except OSError:
            self._pool.forget(protocol)
            connection.close()
