"""Server-sent events by hand (cloud API fact sheet 2.3 "SSE framing").

particle-api-js tears a stream down after 15 seconds without a byte and loses what happens until it is back, so
a silent stream says something every 9. A client that does not read is cut off: what it may be behind is bounded
by the bus, the socket and the time one write may take.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from hil.cloud.state.events import CloudEvent, Subscription
from hil.cloud.state.names import in_one_line

FIRST_BYTES = b":ok\n\n"
KEEP_ALIVE = b"\n"
_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "Connection": "keep-alive",
    "X-Accel-Buffering": "no",
}


class OpenStreams:
    """The streams that are open now. ``dropped`` counts those cut off because their client did not read."""

    def __init__(self) -> None:
        self._addresses: Counter[str] = Counter()
        self._events: set[Subscription] = set()
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._events)

    def from_address(self, address: str) -> int:
        """How many streams one client address has open."""
        return self._addresses[address]

    @contextmanager
    def holding(self, address: str, events: Subscription) -> Iterator[None]:
        """Count a stream while it is open; afterwards it takes no more events."""
        self._addresses[address] += 1
        self._events.add(events)
        try:
            yield
        finally:
            self._events.discard(events)
            self._addresses[address] -= 1
            events.close()

    def close(self) -> None:
        """End all streams."""
        for events in tuple(self._events):
            events.close()


class EventStream(Response):
    """The answer that stays: ``events`` until the client leaves, is cut off, or the cloud stops.

    ``keep_alive`` and ``stalled_after`` in seconds, as in ``HttpOptions``.
    """

    def __init__(
        self,
        events: Subscription,
        streams: OpenStreams,
        *,
        address: str,
        keep_alive: float,
        stalled_after: float,
    ) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["Content-Length"]
        self._events = events
        self._streams = streams
        self._address = address
        self._keep_alive = keep_alive
        self._stalled_after = stalled_after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._streams.holding(self._address, self._events):
            if scope["method"] == "HEAD":
                await super().__call__(scope, receive, send)
                return
            feeding = asyncio.ensure_future(self._feed(send))
            leaving = asyncio.ensure_future(_left(receive))
            try:
                done, _ = await asyncio.wait((feeding, leaving), return_when=asyncio.FIRST_COMPLETED)
                if feeding in done:
                    feeding.result()  # raises what went wrong, if anything did
            finally:
                feeding.cancel()
                leaving.cancel()
                await asyncio.gather(feeding, leaving, return_exceptions=True)

    async def _feed(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            await self._write(send, FIRST_BYTES)
            while (chunk := await self._next_chunk()) is not None:
                await self._write(send, chunk)
            await self._write(send, b"", more=False)
        except TimeoutError:
            self._streams.dropped += 1

    async def _next_chunk(self) -> bytes | None:
        """The next event or sign of life; ``None`` at the end of the stream."""
        try:
            async with asyncio.timeout(self._keep_alive):
                event = await anext(self._events, None)
        except TimeoutError:
            return KEEP_ALIVE
        if self._events.dropped:
            self._streams.dropped += 1
            return None
        return None if event is None else frame(event)

    async def _write(self, send: Send, chunk: bytes, *, more: bool = True) -> None:
        async with asyncio.timeout(self._stalled_after):
            await send({"type": "http.response.body", "body": chunk, "more_body": more})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def frame(event: CloudEvent) -> bytes:
    """One event as a stream carries it. A name cannot break out of its line, whatever a client takes for its end.

    No new event has such a name; an earlier release may have stored one.
    """
    fields = {
        "data": event.data if event.raw else None,
        "ttl": event.ttl,
        "published_at": event.published_at_iso,
        "coreid": source_of(event),
    }
    return f"event: {in_one_line(event.name)}\ndata: {json.dumps(fields)}\n\n".encode()


def source_of(event: CloudEvent) -> str:
    """``coreid``: the device, or who else speaks (webhooks are internal, everything else is the API)."""
    if event.device_id is not None:
        return event.device_id
    return "particle-internal" if event.name.startswith("hook-") else "api"
