"""A command that stays until Ctrl-C hears it whatever it is doing."""

from __future__ import annotations

import ctypes
import os
import queue
import signal
import threading
from pathlib import Path

import pytest

from hil.cli.until_signal import stopping


def sleeps(thread: int) -> bool:
    """Whether the kernel has put ``thread`` (a kernel's thread id) to sleep."""
    return Path(f"/proc/self/task/{thread}/stat").read_text().rpartition(")")[2].split()[0] == "S"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_heard_while_the_main_thread_runs_no_step_of_python(number: signal.Signals) -> None:
    """As when it comes in the moment before a wait: the handlers of Python have no turn until the wait is over.

    A POSIX mutex does not even wake for a signal, so here that moment lasts as long as the test wants it to.
    """
    libc = ctypes.CDLL(None)
    mutex = ctypes.create_string_buffer(64)  # zeros are PTHREAD_MUTEX_INITIALIZER
    libc.pthread_mutex_lock(mutex)
    main, stopped, heard = threading.get_native_id(), threading.Event(), []

    def send_and_free() -> None:
        while not sleeps(main):
            os.sched_yield()
        os.kill(os.getpid(), number)
        heard.append(stopped.wait(5))
        libc.pthread_mutex_unlock(mutex)

    with stopping(stopped.set):
        worker = threading.Thread(target=send_and_free)
        worker.start()
        libc.pthread_mutex_lock(mutex)
        worker.join()
    assert heard == [True]


def test_each_signal_after_the_first_is_heard_too_and_what_was_deaf_stays_so() -> None:
    heard: queue.SimpleQueue[str] = queue.SimpleQueue()
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopping(lambda: heard.put("stop")):
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGINT)
            assert heard.get(timeout=30) == "stop"
            os.kill(os.getpid(), signal.SIGTERM)
            assert heard.get(timeout=30) == "stop"
        assert heard.empty()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGHUP, before)
