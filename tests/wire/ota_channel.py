"""A path between an update's sender and receiver in simulated time: loses, repeats and reorders datagrams.

Each end has what a real channel has: CON messages are sent again until acknowledged, repeated ones answered from
memory. All messages go through the codec.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from hil.wire.coap.message import Message, Type, decode, encode

RETRANSMIT_AFTER = 4.0
MAX_STEPS = 60_000


class Endpoint(Protocol):
    def wants(self, message: Message) -> bool: ...
    def receive(self, message: Message, now: float) -> list[Message]: ...
    def tick(self, now: float) -> list[Message]: ...
    def next_deadline(self) -> float | None: ...


def counter(start: int) -> Callable[[], int]:
    numbers = itertools.count(start)
    return lambda: next(numbers) & 0xFFFF


def tokens(start: int = 0x61) -> Callable[[], bytes]:
    numbers = itertools.count(start)
    return lambda: bytes((next(numbers) & 0xFF,))


@dataclass
class Path:
    """Chances from 0 to 1; delays in seconds."""

    loss: float = 0.0
    repeat: float = 0.0
    jitter: float = 0.0
    delay: float = 0.01
    seed: int = 0


@dataclass
class _End:
    endpoint: Endpoint
    unacknowledged: dict[int, bytes] = field(default_factory=dict)
    answered: dict[int, list[Message]] = field(default_factory=dict)
    ready: bool = False


class Channel:
    """Runs two endpoints against each other. ``log`` holds every message sent, as (from, message)."""

    def __init__(self, cloud: Endpoint, device: Endpoint, path: Path | None = None) -> None:
        self.path = path or Path()
        self.random = Random(self.path.seed)
        self.ends = [_End(cloud), _End(device)]
        self.log: list[tuple[int, Message]] = []
        self.now = 0.0
        self._queue: list[tuple[float, int, int, bytes, bool]] = []
        self._order = itertools.count()

    def send(self, origin: int, messages: list[Message]) -> None:
        for message in messages:
            self.log.append((origin, message))
            data = encode(message)
            if message.type is Type.CON:
                self.ends[origin].unacknowledged[message.mid] = data
                self._later(RETRANSMIT_AFTER, origin, data, again=True)
            self._transmit(origin, data)

    def run(self, until: Callable[[], bool]) -> None:
        for _ in range(MAX_STEPS):
            if until() or not self._step():
                return
        raise AssertionError(f"not done after {MAX_STEPS} steps")

    def _step(self) -> bool:
        """The next thing that happens: a datagram, a retransmission or a tick."""
        deadlines = [
            (deadline, number)
            for number, end in enumerate(self.ends)
            if (deadline := end.endpoint.next_deadline()) is not None
        ]
        tick = min(deadlines, default=None)
        if self._queue and (tick is None or self._queue[0][0] <= tick[0]):
            self.now, _, origin, data, again = heapq.heappop(self._queue)
            if again:
                self._send_again(origin, data)
            else:
                self._deliver(1 - origin, decode(data))
            return True
        if tick is None:
            return False
        self.now = max(self.now, tick[0])
        self.send(tick[1], self.ends[tick[1]].endpoint.tick(self.now))
        return True

    def _deliver(self, number: int, message: Message) -> None:
        end = self.ends[number]
        if message.type in (Type.ACK, Type.RST):
            end.unacknowledged.pop(message.mid, None)
        if message.type is Type.CON and message.mid in end.answered:
            for reply in end.answered[message.mid]:
                self._transmit(number, encode(reply))
            return
        replies = end.endpoint.receive(message, self.now) if end.endpoint.wants(message) else []
        if message.type is Type.CON:
            end.answered[message.mid] = [reply for reply in replies if reply.type is Type.ACK]
        self.send(number, replies)

    def _send_again(self, origin: int, data: bytes) -> None:
        if self.ends[origin].unacknowledged.get(int.from_bytes(data[2:4], "big")) == data:
            self._later(RETRANSMIT_AFTER, origin, data, again=True)
            self._transmit(origin, data)

    def _transmit(self, origin: int, data: bytes) -> None:
        copies = 2 if self.random.random() < self.path.repeat else 1
        for _ in range(copies):
            if self.random.random() >= self.path.loss:
                delay = self.path.delay + self.random.random() * self.path.jitter
                self._later(delay, origin, data, again=False)

    def _later(self, delay: float, origin: int, data: bytes, *, again: bool) -> None:
        heapq.heappush(self._queue, (self.now + delay, next(self._order), origin, data, again))
