"""Runs a command inside a rack and passes on what a terminal or a parent sends: keys, signals, exit status.

The command is the launcher's child in the launcher's session and process group, so a shell, its job control and Ctrl-C
work as without a rack. Processes the command leaves behind end with the rack; the command of a launcher that is killed
is hung up on, as when a terminal goes.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from hil.errors import UsageError
from hil.virtual.kernel import linux
from hil.virtual.launch import rackprocess, vexec, watchdog
from hil.virtual.launch.companion import Companion, keep_open
from hil.virtual.launch.rackprocess import Compose, RackHandle

_FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT, signal.SIGQUIT)
_FROM_KEYBOARD = (signal.SIGINT, signal.SIGQUIT)
_SI_USER = 0  # and below: sent by a process; above: by the kernel, for a key
_LEFTOVER_SECONDS = 2.0
RACK_LOST = 3
# Without its rack a command sees errors only: it may end by itself, then it is asked, then it is made to (seconds).
_ENDING = (
    (5.0, signal.SIGINT),
    (25.0, signal.SIGTERM),
    (25.0, signal.SIGHUP),
    (30.0, signal.SIGKILL),
)


def run(
    command: Sequence[str],
    compose: Compose,
    *,
    keep: Sequence[int] = (),
    companion: Companion | None = None,
    silence: int = watchdog.SILENCE,
) -> int:
    """Starts a rack, runs ``command`` in it, ends the rack. Returns the exit status (128 + n for signal n).

    ``command`` inherits the descriptors ``keep``, and starts when ``companion`` is ready, with the variables it says.
    When the rack ends first, for one that it did not answer for ``silence`` seconds, the command is told to end; if it
    waits for that, or ends in success, the status is ``RACK_LOST``.
    """
    refuse_inside()
    linux.adopt_orphans()
    handle = rackprocess.start(compose, silence)
    try:
        if companion is not None:
            os.environ.update(companion.start(handle))
        return _Client(handle, command, keep).wait()
    finally:
        _end_leftovers(handle.pid)
        handle.stop()


def refuse_inside() -> None:
    """Raises ``UsageError`` in a process that runs inside a rack: a second listener of tty calls cannot be had."""
    if vexec.inside():
        raise UsageError(
            "this shell already runs inside a virtual rack",
            found=f"{vexec.RACK_VARIABLE}={vexec.inside()}",
            hint="run the command as it is, or leave the rack first",
        )


def join(base: Path, command: Sequence[str]) -> int:
    """Runs ``command`` in the rack at ``base``; replaces this process."""
    vexec.become(base, command)


class _Client:
    """The command under way."""

    def __init__(self, handle: RackHandle, command: Sequence[str], keep: Sequence[int]) -> None:
        self._rack: int | None = handle.pid
        self._lost: float | None = None
        self._ending = list(_ENDING)
        signal.pthread_sigmask(signal.SIG_BLOCK, {*_FORWARDED, signal.SIGCHLD})
        sys.stdout.flush()
        sys.stderr.flush()
        launcher = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            handle.control.close()
            keep_open(keep)
            vexec.become(handle.base, command, launcher)
        watchdog.tell_command(handle.watch, self._pid)

    def wait(self) -> int:
        """Until the command ends; passes signals on meanwhile."""
        while True:
            status = self._look()
            if status is not None:
                code = (
                    os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
                )
                told = len(self._ending) < len(_ENDING)
                return RACK_LOST if self._lost is not None and (told or not code) else code
            information = self._next_signal()
            if information is None or information.si_signo == signal.SIGCHLD:
                continue
            number = information.si_signo
            if number in _FROM_KEYBOARD and information.si_code > _SI_USER:
                continue  # the terminal told the command itself
            self._send(number)

    def _next_signal(self) -> signal.struct_siginfo | None:
        """Waits for a signal; without the rack only a moment."""
        expected = {*_FORWARDED, signal.SIGCHLD}
        if self._lost is None:
            return signal.sigwaitinfo(expected)
        while self._ending and time.monotonic() - self._lost >= self._ending[0][0]:
            self._send(self._ending.pop(0)[1])
        return signal.sigtimedwait(expected, 0.2)

    def _look(self) -> int | None:
        """The command's wait status once it has ended; stops with it when a job of its own stops."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:
                return None
            if pid == 0:
                return None
            if pid == self._rack and not os.WIFSTOPPED(status):
                self._rack = None
                self._lost = time.monotonic()
                sys.stderr.write("hil rack: the rack ended before its command; its boards are gone\n")
            if pid != self._pid:
                continue
            if not os.WIFSTOPPED(status):
                return status
            self._stop_too()

    def _stop_too(self) -> None:
        """A shell that suspends itself is in a group of its own: the shell above must see this process stop."""
        if os.getpgid(self._pid) != os.getpgrp():
            os.kill(os.getpid(), signal.SIGSTOP)
            self._send(signal.SIGCONT)

    def _send(self, number: int) -> None:
        try:
            os.kill(self._pid, number)
        except ProcessLookupError:
            return


def _end_leftovers(rack: int) -> None:
    """Ends what the command left running: without the rack it would only see errors."""
    deadline = time.monotonic() + _LEFTOVER_SECONDS
    told: set[int] = set()
    while children := _children() - {rack}:
        late = time.monotonic() > deadline
        for pid in children:
            if late or pid not in told:
                os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
                told.add(pid)
        _reap_ended(rack)
        if _children() - {rack}:
            signal.sigtimedwait({signal.SIGCHLD}, 0.05)


def _reap_ended(rack: int) -> None:
    for pid in _children() - {rack}:
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            continue


def _children() -> set[int]:
    """Pids of this process's children, adopted ones included (/proc/PID/task/PID/children is optional in kernels)."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _parent_of(entry) == os.getpid():
            found.add(int(entry.name))
    return found


def _parent_of(process: Path) -> int:
    try:
        text = (process / "stat").read_text()
    except OSError:
        return 0
    # The name in parentheses may hold anything; state and parent follow its last parenthesis.
    return int(text.rpartition(")")[2].split()[1])
