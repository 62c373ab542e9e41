"""A movable clock for event loops: its timers fire on their loop, and an advance waits until the loop is at rest."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from weakref import WeakSet

from hil.clock.types import Clock, ClockError, Timer

# Turns of the loop: what came in is read, and tasks that wake each other along a chain have all run.
_TURNS = 12
_LOOK = 0.05  # real seconds between looks at whether a loop has ended meanwhile


class MovableLoopClock:
    """``clock`` on whatever event loop runs when it is asked."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: WeakSet[asyncio.AbstractEventLoop] = WeakSet()
        self.monotonic = clock.monotonic
        self.time = clock.time

    def call_at(self, when: float, callback: Callable[..., object], *arguments: Any) -> Timer:
        loop = asyncio.get_running_loop()
        if loop not in self._known:
            self._known.add(loop)
            self._clock.attach(LoopWorker(loop))
        return _LoopTimer(self._clock, loop, when, callback, arguments)

    def call_later(self, delay: float, callback: Callable[..., object], *arguments: Any) -> Timer:
        return self.call_at(self.monotonic() + delay, callback, *arguments)

    def timeout(self, delay: float | None) -> AbstractAsyncContextManager[object]:
        return self.timeout_at(None if delay is None else self.monotonic() + delay)

    @asynccontextmanager
    async def timeout_at(self, when: float | None) -> AsyncIterator[object]:
        async with asyncio.timeout(None) as limit:
            timer = None if when is None else self.call_at(when, limit.reschedule, 0.0)
            try:
                yield limit
            finally:
                if timer is not None:
                    timer.cancel()

    async def sleep(self, delay: float) -> None:
        over = asyncio.Event()
        timer = self.call_later(delay, over.set)
        try:
            await over.wait()
        finally:
            timer.cancel()


class _LoopTimer:
    """A timer of the clock that calls on a loop. One that is cancelled never calls, whatever is under way."""

    __slots__ = ("_arguments", "_callback", "_cancelled", "_loop", "_timer")

    def __init__(
        self,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        when: float,
        callback: Callable[..., object],
        arguments: tuple[Any, ...],
    ) -> None:
        self._loop = loop
        self._callback = callback
        self._arguments = arguments
        self._cancelled = False
        self._timer = clock.call_at(when, self._due)

    def cancel(self) -> None:
        self._cancelled = True
        self._timer.cancel()

    def _due(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._call)

    def _call(self) -> None:
        if not self._cancelled:
            self._callback(*self._arguments)


class LoopWorker:
    """An event loop as something that comes to rest."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread = threading.get_ident()

    @property
    def ended(self) -> bool:
        return self._loop.is_closed()

    def settle(self, within: float) -> int:
        """Wait until the loop has turned a few times. Raises ``ClockError`` when it does not in ``within`` s."""
        if threading.get_ident() == self._thread and self._loop.is_running():
            raise ClockError("an event loop that follows the clock cannot move it", hint="use another thread")
        rested = threading.Event()

        def turn(left: int) -> None:
            if left:
                self._loop.call_soon(turn, left - 1)
            else:
                rested.set()

        try:
            self._loop.call_soon_threadsafe(turn, _TURNS)
        except RuntimeError:
            return 0  # it is closed
        waited = 0.0
        while not rested.wait(_LOOK):
            waited += _LOOK
            if not self._loop.is_running():
                return 0
            if waited > within:
                raise ClockError(f"an event loop does not come to rest within {within:g} s")
        return 0
