"""Commands that stay until Ctrl-C: a signal is a wish to end, never an exception at some line of the program."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def stopping(stop: Callable[[], None]) -> Iterator[None]:
    """For a ``with`` block in the main thread SIGINT, SIGTERM and SIGHUP call ``stop``; so does each one after.

    A ``KeyboardInterrupt`` would come in the middle of starting or stopping just as well, and leave half of it.
    """
    # What nohup or a shell has made deaf stays so.
    heard = [number for number in _NUMBERS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, lambda _number, _frame: stop()) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
