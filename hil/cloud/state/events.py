"""Events inside the cloud: the bus that carries them and the table that keeps them.

Private means private: a stream of one owner carries events of that owner only, and only the cloud's own
listeners (the harness, webhooks) hear everything. Prefix matching is case-sensitive (cloud API fact sheet 2.3).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from hil.cloud.config import Retention
from hil.cloud.state.journal import Journal
from hil.cloud.state.payload import readable
from hil.cloud.state.store import Row, Store
from hil.cloud.state.trimming import Trim

DEFAULT_QUEUE = 1000  # events a slow stream may be behind

_SCHEMA = (
    """
    CREATE TABLE events (
        id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, raw BLOB NOT NULL, device_id TEXT,
        owner TEXT, published_at REAL NOT NULL, private INTEGER NOT NULL, ttl INTEGER NOT NULL,
        content_format INTEGER, session TEXT, mid INTEGER
    );
    CREATE INDEX events_of_session ON events(session, published_at)
    """,
)


@dataclass(frozen=True, slots=True)
class CloudEvent:
    """One event. ``published_at`` in seconds since 1970, ``ttl`` in seconds, ``device_id`` ``None`` for the API.

    ``raw`` is the data as it travelled; ``data`` is how the cloud shows it.
    """

    id: int
    name: str
    data: str
    raw: bytes
    device_id: str | None
    owner: str | None
    published_at: float
    private: bool
    ttl: int
    content_format: int | None

    @property
    def published_at_iso(self) -> str:
        """``published_at`` the way the API writes it: milliseconds and a Z."""
        moment = datetime.fromtimestamp(self.published_at, UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Origin:
    """Which message of which session an event came in, to know it again when it is sent twice."""

    session: str
    mid: int


class Subscription(AsyncIterator[CloudEvent]):
    """One open stream. A reader that falls behind its queue is cut off and counted on the bus."""

    def __init__(
        self, bus: EventBus, owner: str | None, prefix: str, device_id: str | None, size: int
    ) -> None:
        self._bus = bus
        self._owner = owner
        self._prefix = prefix
        self._device_id = device_id
        self._queue: asyncio.Queue[CloudEvent | None] = asyncio.Queue()
        self._size = size
        self.closed = False
        self.dropped = False

    def wants(self, event: CloudEvent) -> bool:
        """Whether the stream carries ``event``."""
        if self._owner is not None and event.owner != self._owner:
            return False
        if self._device_id is not None and event.device_id != self._device_id:
            return False
        return event.name.startswith(self._prefix)

    def offer(self, event: CloudEvent) -> None:
        """Queue ``event``; cuts the stream off when its reader is too slow."""
        if self._queue.qsize() >= self._size:
            self.dropped = True
            self._bus.dropped_streams += 1
            self.close()
        else:
            self._queue.put_nowait(event)

    def close(self) -> None:
        """End the stream; what is queued can still be read."""
        if not self.closed:
            self.closed = True
            self._bus.remove(self)
            self._queue.put_nowait(None)

    async def __anext__(self) -> CloudEvent:
        event = await self._queue.get()
        if event is None:
            self._queue.put_nowait(None)
            raise StopAsyncIteration
        return event


class EventBus:
    """Keeps events as long as ``retention`` says, and hands each to everyone who may have it.

    ``listeners`` are called at once, on the cloud's loop, for every event of every owner.
    """

    def __init__(self, store: Store, retention: Retention | None = None) -> None:
        kept = retention or Retention()
        self._store = store
        self._streams: list[Subscription] = []
        self.listeners: list[Callable[[CloudEvent], None]] = []
        self.journal: Journal[CloudEvent] = Journal(kept.journal)
        self.dropped_streams = 0
        store.migrate("events", _SCHEMA)
        self._trim = Trim(store, "events", "published_at", rows=kept.events, days=kept.days)
        newest = store.query("SELECT * FROM events ORDER BY id DESC LIMIT ?", kept.journal)
        for row in reversed(newest):
            self.journal.append(_event(row))

    def subscribe(
        self, owner: str | None, prefix: str = "", device_id: str | None = None, *, size: int = DEFAULT_QUEUE
    ) -> Subscription:
        """A stream of ``owner``'s events whose name starts with ``prefix``; ``None`` stands for every owner."""
        stream = Subscription(self, owner, prefix, device_id, size)
        self._streams.append(stream)
        return stream

    def remove(self, stream: Subscription) -> None:
        """Forget a stream that has closed."""
        if stream in self._streams:
            self._streams.remove(stream)

    def close(self) -> None:
        """End all streams."""
        for stream in tuple(self._streams):
            stream.close()

    def record(
        self,
        name: str,
        raw: bytes = b"",
        *,
        device_id: str | None,
        owner: str | None,
        private: bool = True,
        ttl: int = 60,
        content_format: int | None = None,
        origin: Origin | None = None,
    ) -> CloudEvent:
        """Write an event to the store, for :meth:`announce` to hand out once it is committed."""
        now = self._store.now()
        row_id = self._store.execute(
            "INSERT INTO events (name, raw, device_id, owner, published_at, private, ttl, content_format, session,"
            " mid) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            name,
            raw,
            device_id,
            owner,
            now,
            private,
            ttl,
            content_format,
            origin.session if origin else None,
            origin.mid if origin else None,
        )
        self._trim.added()
        text = readable(raw, content_format)
        return CloudEvent(row_id, name, text, raw, device_id, owner, now, private, ttl, content_format)

    def announce(self, event: CloudEvent) -> None:
        """Hand an event that is in the store to streams, listeners and the journal."""
        self.journal.append(event)
        for stream in tuple(self._streams):
            if stream.wants(event):
                stream.offer(event)
        for listener in tuple(self.listeners):
            listener(event)

    def emit(self, name: str, data: str = "", *, device_id: str | None, owner: str | None) -> CloudEvent:
        """Record and announce an event of the cloud itself, such as ``spark/status``."""
        event = self.record(name, data.encode(), device_id=device_id, owner=owner)
        self.announce(event)
        return event

    def mids_seen(self, session: str, since: float) -> list[int]:
        """Ids of the messages in which ``session`` brought events since ``since`` (seconds since 1970)."""
        rows = self._store.query(
            "SELECT mid FROM events WHERE session=? AND published_at>=? AND mid IS NOT NULL", session, since
        )
        return [int(row["mid"]) for row in rows]


def _event(row: Row) -> CloudEvent:
    return CloudEvent(
        row["id"],
        row["name"],
        readable(row["raw"], row["content_format"]),
        row["raw"],
        row["device_id"],
        row["owner"],
        row["published_at"],
        bool(row["private"]),
        row["ttl"],
        row["content_format"],
    )
