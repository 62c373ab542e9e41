"""The rack's watchdog: a process of its own that ends a rack that no longer answers, so that nobody waits for it.

A program that waits for an answer of FUSE cannot be interrupted, not even by SIGKILL; only the end of the rack wakes
it. The rack says every half second that it lives: that its threads run, that its lock comes free and that no device has
been asked for long without an answer. A rack that was stopped, that swaps or that hangs does not, and is killed; then
every client gets an error, and the launcher ends the run. Time is counted in the watchdog's own turns: on a machine
that was suspended as a whole nobody has been silent.

A launcher that is stopped is nobody's trouble while its command runs, and is how job control works. Once the command
has ended it is continued, so that the run ends.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import time
from pathlib import Path
from typing import NoReturn, Protocol

SILENCE = 10  # seconds that a rack may be silent
_TURN = 1.0
_BEAT = 0.5
_PATIENCE = 60  # beats for which one request may be under way or the lock be taken
_LIVES = b"."
_MOST = 65536


class Beating(Protocol):
    """What the rack's kernel tells of itself."""

    @property
    def lock(self) -> threading.RLock: ...

    def under_way(self) -> frozenset[int]:
        """Names of the requests that wait for a device's answer."""


def start(rack: int, launcher: int, pipe: int, silence: int) -> None:
    """Forks the watchdog of process ``rack``; it reads ``pipe`` and ends with the rack.

    Call it in a process without threads.
    """
    if os.fork() == 0:
        _watch(rack, launcher, pipe, silence)


def beat(kernel: Beating, pipe: int) -> None:
    """Says for ever on ``pipe`` that the rack lives, from a thread."""
    heart = _Heart(kernel)
    os.set_blocking(pipe, False)

    def run() -> None:
        while True:
            if heart.sound():
                with contextlib.suppress(OSError):  # nobody reads, or has not for a day
                    os.write(pipe, _LIVES)
            time.sleep(_BEAT)

    threading.Thread(target=run, name="heart", daemon=True).start()


def tell_command(pipe: int, pid: int) -> None:
    """The launcher says which process is its command."""
    with contextlib.suppress(OSError):
        os.write(pipe, f"{pid}\n".encode())


class _Heart:
    """Looks at the rack from within, once a beat."""

    def __init__(self, kernel: Beating) -> None:
        self._kernel = kernel
        self._ages: dict[int, int] = {}
        self._taken = 0

    def sound(self) -> bool:
        if self._kernel.lock.acquire(timeout=_BEAT):
            self._kernel.lock.release()
            self._taken = 0
        else:
            self._taken += 1
        self._ages = {name: self._ages.get(name, 0) + 1 for name in self._kernel.under_way()}
        return max(self._taken, *self._ages.values(), 0) < _PATIENCE


def _watch(rack: int, launcher: int, pipe: int, silence: int) -> NoReturn:
    """The watchdog's whole life."""
    with contextlib.suppress(BaseException):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        life = os.pidfd_open(rack)
        # Locks, sockets and pipes of the rack must not outlive it here.
        for name in os.listdir("/proc/self/fd"):
            if int(name) not in (0, 1, 2, pipe, life):
                with contextlib.suppress(OSError):
                    os.close(int(name))
        os.set_blocking(pipe, False)
        _Watchdog(rack, launcher, pipe, silence).run(life)
    os._exit(0)


class _Watchdog:
    def __init__(self, rack: int, launcher: int, pipe: int, silence: int) -> None:
        self._rack = rack
        self._launcher = launcher
        self._pipe = pipe
        self._silence = silence
        self._silent = 0.0
        self._command = 0
        self._said = b""

    def run(self, life: int) -> None:
        """Until the rack has ended."""
        ended = select.poll()
        ended.register(life, select.POLLIN)
        while not ended.poll(_TURN * 1000):
            self._listen()
            if self._silent >= self._silence:
                self._end_rack()
                self._silent = 0
            self._wake_launcher()

    def _listen(self) -> None:
        self._silent += _TURN
        try:
            heard = os.read(self._pipe, _MOST)
        except BlockingIOError:
            return
        if _LIVES in heard:
            self._silent = 0
        self._said += heard.replace(_LIVES, b"")
        while b"\n" in self._said:
            line, _, self._said = self._said.partition(b"\n")
            self._command = int(line)

    def _end_rack(self) -> None:
        how = "it is stopped" if _state_of(self._rack) == "T" else "it hangs"
        _say(
            f"the rack (process {self._rack}) has not answered for {self._silence} s: {how}. It is ended, "
            "and the run with it"
        )
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._rack, signal.SIGKILL)

    def _wake_launcher(self) -> None:
        if self._command and _state_of(self._launcher) == "T" and _state_of(self._command) == "Z":
            _say(
                f"the launcher (process {self._launcher}) was stopped; its command has ended, so it is continued"
            )
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._launcher, signal.SIGCONT)


def _say(text: str) -> None:
    sys.stderr.write(f"hil rack: {text}\n")
    sys.stderr.flush()


def _state_of(pid: int) -> str:
    """The letter of proc(5): R, S, D, T for stopped, Z for ended; nothing for no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[0]
