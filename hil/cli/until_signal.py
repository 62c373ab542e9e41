"""Commands that stay until Ctrl-C: a signal is a wish to end, never an exception at some line of the program."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_OVER = b"\0"  # no signal has this number


@contextmanager
def stopping(stop: Callable[[], None]) -> Iterator[None]:
    """For a ``with`` block in the main thread SIGINT, SIGTERM and SIGHUP call ``stop``; so does each one after.

    A ``KeyboardInterrupt`` would come in the middle of starting or stopping just as well, and leave half of it.

    ``stop`` is called on a thread of its own. Python runs a handler between two steps of the main thread, and a signal
    that comes in the moment before that thread waits for a lock is heard only when the wait is over. The descriptor
    that Python writes a signal's number to is written at once.
    """
    # What nohup or a shell has made deaf stays so.
    heard = [number for number in _NUMBERS if signal.getsignal(number) is not signal.SIG_IGN]
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    thread = threading.Thread(target=_listen, args=(reader, heard, stop), name="until-signal", daemon=True)
    with reader, writer:
        before = {number: signal.signal(number, _nothing) for number in heard}
        earlier = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        thread.start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(earlier)
            for number, handler in before.items():
                signal.signal(number, handler)
            writer.setblocking(True)
            writer.sendall(_OVER)
            thread.join()


def _listen(reader: socket.socket, heard: list[signal.Signals], stop: Callable[[], None]) -> None:
    while (data := reader.recv(1)) != _OVER:
        if data[0] in heard:
            stop()


def _nothing(_number: int, _frame: object) -> None:
    """The descriptor has it. A handler has to be there all the same, or the signal ends the process."""
