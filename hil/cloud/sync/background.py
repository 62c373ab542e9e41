"""An event loop on a thread of its own, for callers who know nothing of coroutines."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from hil.errors import UsageError

Result = TypeVar("Result")
_STOP_PATIENCE = 10.0  # seconds


class BackgroundLoop:
    """Starts with its construction; ends with :meth:`close`."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.run_until_complete(self._break_off())
        self._loop.close()

    async def _break_off(self) -> None:
        """End what is still under way: a task that its loop leaves behind complains when it is thrown away."""
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await self._loop.shutdown_asyncgens()
        await self._loop.shutdown_default_executor()

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run ``work`` on the loop and return its result, or raise what it raises."""
        if threading.current_thread() is self._thread:
            work.close()
            raise UsageError(
                "the cloud's own thread cannot wait for itself", hint="use the async verbs there"
            )
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def call(self, function: Callable[..., Result], *arguments: Any, **named: Any) -> Result:
        """Call a plain ``function`` on the loop's thread and return its result, or raise what it raises."""

        async def work() -> Result:
            return function(*arguments, **named)

        return self.run(work())

    def submit(self, work: Coroutine[Any, Any, Result]) -> Future[Result]:
        """Start ``work`` on the loop without waiting for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def close(self) -> None:
        """Stop the loop and wait for its thread."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_STOP_PATIENCE)
