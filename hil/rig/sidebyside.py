"""Work on several boards at once, which Ctrl-C ends however long one of them takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")

GRACE = 10.0  # seconds: a board that is being switched or reset comes to a sound end


def side_by_side(work: Callable[..., Result], *arguments: Sequence[Any]) -> list[Result]:
    """``work`` called once for each element of ``arguments``, as ``map`` would, all at once; the results in order.

    Raises what the first call that failed raised, after all have ended. What interrupts the wait, such as Ctrl-C, is
    raised after ``GRACE`` seconds at most; calls that then still run are left to end with the process, for a board that
    has gone may be waited for very much longer.
    """
    calls = [_Call(work, each) for each in zip(*arguments, strict=True)]
    try:
        for call in calls:
            call.thread.start()
        for call in calls:
            call.thread.join()
    except BaseException:
        end = time.monotonic() + GRACE
        for call in [each for each in calls if each.thread.is_alive()]:
            call.thread.join(max(0.0, end - time.monotonic()))
        raise
    for call in calls:
        if call.error is not None:
            raise call.error
    return [call.results[0] for call in calls]


class _Call(Generic[Result]):
    """One of the calls, on a daemon thread: the process does not wait for it."""

    def __init__(self, work: Callable[..., Result], arguments: tuple[Any, ...]) -> None:
        self._work = work
        self._arguments = arguments
        self.results: list[Result] = []
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, name=f"work on {arguments[0]}", daemon=True)

    def _run(self) -> None:
        try:
            self.results.append(self._work(*self._arguments))
        except BaseException as error:
            self.error = error
