"""What a clock is to those who are handed one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from hil.errors import RigError

CLOCK_VARIABLE = "HIL_CLOCK"  # names the control socket of the clock that a process is to follow


class ClockError(RigError):
    """A clock cannot be moved, or cannot be followed."""


class Timer(Protocol):
    """Something that will happen; cancelling what has happened changes nothing."""

    def cancel(self) -> None: ...


class Worker(Protocol):
    """What does its work on a thread of its own when it is due by the clock."""

    @property
    def ended(self) -> bool:
        """Whether it will never do anything again."""

    def settle(self, within: float) -> int:
        """Wait up to ``within`` real seconds until there is nothing to do at this moment.

        Returns a number that has grown when something was done since the last time.
        """


class LoopClock(Protocol):
    """A clock for coroutines and callbacks: its timers fire on the event loop that runs."""

    def monotonic(self) -> float:
        """Seconds, for intervals; as of the clock it was made from."""

    def time(self) -> float:
        """Seconds since 1970, for people and for what is stored."""

    def call_at(self, when: float, callback: Callable[..., object], *arguments: Any) -> Timer:
        """Call ``callback`` on the loop when ``monotonic()`` is ``when``."""

    def call_later(self, delay: float, callback: Callable[..., object], *arguments: Any) -> Timer:
        """Call ``callback`` on the loop in ``delay`` seconds."""

    def timeout(self, delay: float | None) -> AbstractAsyncContextManager[object]:
        """As ``asyncio.timeout``: ``TimeoutError`` when what is inside takes longer than ``delay`` seconds."""

    def timeout_at(self, when: float | None) -> AbstractAsyncContextManager[object]:
        """As :meth:`timeout`, until ``monotonic()`` is ``when``: exactly, where a difference would be rounded."""

    async def sleep(self, delay: float) -> None:
        """As ``asyncio.sleep``."""


class Clock(Protocol):
    """Time, and what is to happen later."""

    def monotonic(self) -> float:
        """Seconds, for intervals; never goes back."""

    def time(self) -> float:
        """Seconds since 1970, for people and for what is stored."""

    def call_at(self, when: float, callback: Callable[[], object]) -> Timer:
        """Call ``callback`` when ``monotonic()`` is ``when``, on a thread of the clock's; it must not block."""

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        """Call ``callback`` in ``delay`` seconds, as :meth:`call_at`."""

    def wait(self, condition: threading.Condition, timeout: float | None) -> None:
        """Wait for ``condition``, which the caller holds, up to ``timeout`` seconds; it may wake for nothing."""

    def on_loop(self) -> LoopClock:
        """The same clock for what runs on an event loop."""

    def attach(self, worker: Worker) -> None:
        """An advance lets this worker come to rest before time goes on, until the worker has ended."""
