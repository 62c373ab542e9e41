"""Event streams at the ASGI level, where time and the client's reading are the test's to decide."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message

from hil.cloud.http.state import HttpOptions
from hil.cloud.http.stream import FIRST_BYTES, EventStream, OpenStreams, frame
from hil.cloud.state.events import CloudEvent, EventBus, Subscription
from hil.cloud.state.store import Store

LIMIT = 30.0  # seconds; only a failure uses them up
FOREVER = 3600.0


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[EventBus]:
    store = Store(tmp_path)
    yield EventBus(store)
    store.close()


class Client:
    """The far end of one stream. ``reading`` cleared: it takes nothing, so every send waits."""

    def __init__(self) -> None:
        self.sent: asyncio.Queue[Message] = asyncio.Queue()
        self.gone = asyncio.Event()
        self.reading = asyncio.Event()
        self.reading.set()

    async def receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        await self.reading.wait()
        self.sent.put_nowait(message)

    async def next(self) -> bytes:
        """The next chunk of the body."""
        message = await self.sent.get()
        return bytes(message["body"])

    async def opened(self) -> None:
        """Take the head and the first bytes."""
        head = await self.sent.get()
        assert head["status"] == 200
        assert await self.next() == FIRST_BYTES

    def serve(self, stream: EventStream, method: str = "GET") -> asyncio.Task[None]:
        """Let the stream run towards this client."""
        work = stream({"type": "http", "method": method}, self.receive, self.send)
        return asyncio.ensure_future(work)


def stream_of(
    events: Subscription,
    streams: OpenStreams,
    *,
    keep_alive: float = FOREVER,
    stalled_after: float = FOREVER,
) -> EventStream:
    return EventStream(events, streams, address="a", keep_alive=keep_alive, stalled_after=stalled_after)


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, LIMIT))


def publish(bus: EventBus, name: str, data: str = "") -> None:
    bus.emit(name, data, device_id=None, owner="ada")


def test_the_keep_alive_is_well_below_the_fifteen_seconds_of_clients() -> None:
    assert HttpOptions().keep_alive == 9.0


def test_a_silent_stream_gives_signs_of_life(bus: EventBus) -> None:
    async def scenario() -> None:
        client = Client()
        running = client.serve(stream_of(bus.subscribe("ada"), OpenStreams(), keep_alive=0.001))
        await client.opened()
        assert [await client.next() for _ in range(5)] == [b"\n"] * 5
        publish(bus, "late", "but heard")
        while (chunk := await client.next()) == b"\n":
            pass
        assert chunk.startswith(b"event: late\n")
        client.gone.set()
        await running

    run(scenario())


def test_headers_keep_proxies_and_caches_away(bus: EventBus) -> None:
    stream = stream_of(bus.subscribe("ada"), OpenStreams())
    assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert stream.headers["cache-control"] == "no-cache"
    assert stream.headers["x-accel-buffering"] == "no"
    assert "content-length" not in stream.headers


def test_a_client_that_leaves_is_forgotten(bus: EventBus) -> None:
    async def scenario() -> None:
        client, streams, events = Client(), OpenStreams(), bus.subscribe("ada")
        running = client.serve(stream_of(events, streams))
        await client.opened()
        assert (len(streams), streams.from_address("a")) == (1, 1)
        client.gone.set()
        await running
        assert (len(streams), streams.from_address("a"), streams.dropped) == (0, 0, 0)
        assert events.closed

    run(scenario())


def test_a_stream_ends_with_the_cloud(bus: EventBus) -> None:
    async def scenario() -> None:
        client, streams = Client(), OpenStreams()
        running = client.serve(stream_of(bus.subscribe("ada"), streams))
        await client.opened()
        streams.close()
        await running
        assert await client.sent.get() == {"type": "http.response.body", "body": b"", "more_body": False}

    run(scenario())


def test_a_client_behind_its_queue_is_cut_off_and_counted(bus: EventBus) -> None:
    async def scenario() -> None:
        client, streams = Client(), OpenStreams()
        running = client.serve(stream_of(bus.subscribe("ada", size=3), streams))
        await client.opened()
        client.reading.clear()
        for number in range(5):
            publish(bus, f"event/{number}")
        assert bus.dropped_streams == 1
        client.reading.set()
        await running
        assert (streams.dropped, len(streams)) == (1, 0)

    run(scenario())


def test_a_client_that_takes_nothing_is_cut_off_and_counted(bus: EventBus) -> None:
    async def scenario() -> None:
        client, streams, events = Client(), OpenStreams(), bus.subscribe("ada")
        running = client.serve(stream_of(events, streams, stalled_after=0.001))
        await client.opened()
        client.reading.clear()
        publish(bus, "event")
        await running
        assert (streams.dropped, len(streams), events.closed) == (1, 0, True)

    run(scenario())


def test_a_question_for_the_head_alone_does_not_stay_open(bus: EventBus) -> None:
    async def scenario() -> None:
        client, streams, events = Client(), OpenStreams(), bus.subscribe("ada")
        await client.serve(stream_of(events, streams), "HEAD")
        assert events.closed

    run(scenario())


@given(
    name=st.text(min_size=1, max_size=64),
    data=st.text(max_size=200),
    device=st.none() | st.just("e00fce68aabbccddeeff0011"),
)
def test_a_frame_is_one_event_whatever_is_in_it(name: str, data: str, device: str | None) -> None:
    raw = data.encode("utf-8", "replace")
    event = CloudEvent(1, name, data, raw, device, "ada", 1_700_000_000.0, True, 60, None)
    # As particle-api-js reads it: lines end at CR, LF or both, an empty one ends the event.
    lines = frame(event).decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    assert [line.partition(":")[0] for line in lines] == ["event", "data", "", ""]
    fields = json.loads(lines[1].removeprefix("data: "))
    assert fields == {
        "data": data or None,
        "ttl": 60,
        "published_at": "2023-11-14T22:13:20.000Z",
        "coreid": device or ("particle-internal" if name.startswith("hook-") else "api"),
    }
