"""The real time. What it hands out is the system's own, so that it costs nothing on a hot path."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from hil.clock.timers import Timers
from hil.clock.types import LoopClock, Timer, Worker


class SystemClock:
    """Time as the operating system keeps it; nobody can move it."""

    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)

    def __init__(self) -> None:
        self._timers = Timers(time.monotonic, lambda: True)

    def call_at(self, when: float, callback: Callable[[], object]) -> Timer:
        """See :class:`~hil.clock.types.Clock`, as for all others."""
        return self._timers.add(when, callback)

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        return self._timers.add(time.monotonic() + delay, callback)

    def wait(self, condition: threading.Condition, timeout: float | None) -> None:
        condition.wait(timeout)

    def on_loop(self) -> LoopClock:
        return SystemLoopClock()

    def attach(self, worker: Worker) -> None:
        """Nothing: real time waits for nobody."""


class SystemLoopClock:
    """The event loop's own timers: its time is ``time.monotonic`` too."""

    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)

    def call_at(self, when: float, callback: Callable[..., object], *arguments: Any) -> Timer:
        return asyncio.get_running_loop().call_at(when, callback, *arguments)

    def call_later(self, delay: float, callback: Callable[..., object], *arguments: Any) -> Timer:
        return asyncio.get_running_loop().call_later(delay, callback, *arguments)

    def timeout(self, delay: float | None) -> AbstractAsyncContextManager[object]:
        return asyncio.timeout(delay)

    def timeout_at(self, when: float | None) -> AbstractAsyncContextManager[object]:
        return asyncio.timeout_at(when)

    async def sleep(self, delay: float) -> None:
        await asyncio.sleep(delay)
