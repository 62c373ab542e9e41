"""Something under way in a rack, how one of its processes is found and killed, and what it left."""

from __future__ import annotations

import contextlib
import os
import queue
import secrets
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from benchmarks.kill_plan import Plan
from hil.rig.locks import Holder, lock_directory
from tests.system import racks
from tests.system.traces import MARK, command_line, eventually, marked, processes, read, spaces

PATIENCE = 90.0  # seconds; only ever used up by a failure


class Trouble(Exception):
    """What should not have been."""


class Under:
    """Something under way in a rack. Its output is read as it comes; its processes are known by a mark."""

    def __init__(self, command: list[str]) -> None:
        self.mark = secrets.token_hex(8)
        self.said: list[str] = []
        self.silent = False  # its output has ended
        self.seen: set[int] = set()  # its processes when it was killed
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.process = subprocess.Popen(
            command,
            cwd=racks.REPOSITORY,
            env=racks.environment(**{MARK: self.mark}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line)
            self._lines.put(line)
        self._lines.put(None)
        self.silent = True

    def forget(self) -> None:
        """What was said up to now does not count for :meth:`wait_for`."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._lines.get_nowait()

    def wait_for(self, text: str) -> None:
        """Raises ``Trouble`` when the output ends, or for long has nothing, before ``text`` is in it."""
        ends = time.monotonic() + PATIENCE
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, ends - time.monotonic()))
            except queue.Empty:
                raise Trouble(f"no {text!r} within {PATIENCE:.0f} s") from None
            if line is None:
                raise Trouble(f"it ended without {text!r}")
            if text in line:
                return

    def pids(self) -> set[int]:
        """All of its processes."""
        return marked(self.mark)

    def find(self, victim: str) -> int:
        """The process of this name, waited for. Raises ``Trouble`` when there is none."""
        found: list[int] = []

        def look() -> bool:
            found[:] = _candidates(self, victim)
            return bool(found) or self.process.poll() is not None

        eventually(look, PATIENCE)
        if not found:
            raise Trouble(
                f"it ended without a {victim}" if self.process.poll() is not None else f"no {victim}"
            )
        return min(found, key=_started)

    def close(self) -> None:
        """End whatever still runs."""
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(PATIENCE)


def _candidates(run: Under, victim: str) -> list[int]:
    """The victim, and for a moment what it has just forked."""
    if victim == "launcher":
        return [run.process.pid]
    pids = run.pids()
    own = command_line(run.process.pid)
    racks_ = [pid for pid in pids if _is_rack(pid, run.process.pid, own)]
    if victim == "rack":
        return racks_
    if victim == "watchdog":
        return [pid for pid in pids if _parent(pid) in racks_ and command_line(pid) == own]
    wanted = b"\0hil.cli.player\0" if victim == "cloud" else b"\0pytest\0"
    return [pid for pid in pids if wanted in (line := command_line(pid)) and b"\0rack\0" not in line]


def _is_rack(pid: int, launcher: int, command: bytes) -> bool:
    with contextlib.suppress(ProcessLookupError):
        return _parent(pid) == launcher and os.getsid(pid) == pid and command_line(pid) == command
    return False


def _status(pid: int) -> list[bytes]:
    """The fields of proc(5) stat from the third on."""
    return read(Path(f"/proc/{pid}/stat")).rpartition(b")")[2].split()


def _parent(pid: int) -> int:
    fields = _status(pid)
    return int(fields[1]) if fields else 0


def _started(pid: int) -> int:
    fields = _status(pid)
    return int(fields[19]) if fields else sys.maxsize


def left_of(run: Under) -> list[str]:
    """Processes of a run after its end."""
    if eventually(lambda: not run.pids(), racks.PATIENCE):
        return []
    return [f"still there: {command_line(pid)!r}" for pid in run.pids()]


def locks_of(pids: set[int]) -> list[str]:
    """Lock files of boards that these processes left, and the run after them too."""
    left = []
    for path in lock_directory().glob("hil-usb-*.lock"):
        holder = Holder.read(read(path))
        if holder is not None and holder.pid in pids:
            left.append(f"left: {path}")
    return left


def strike(run: Under, plan: Plan) -> float:
    """Kill at the moment. Returns the seconds until the run had ended; raises ``Trouble``."""
    victim = run.find(plan.victim)
    if plan.moment != "run":
        run.wait_for(f"AT {plan.moment}")
    time.sleep(plan.after)
    if run.process.poll() is not None:
        raise Trouble(f"it ended by itself with {run.process.returncode}")
    own = run.seen = run.pids()
    others = processes() - own
    held = _spaces(own) - _spaces(others)
    try:
        os.kill(victim, plan.signal)
    except ProcessLookupError:
        raise Trouble(f"the {plan.victim} had ended by itself") from None
    if plan.victim == "watchdog":
        run.forget()
        run.wait_for(f"AT {plan.moment}")  # nobody misses it
        run.process.send_signal(signal.SIGINT)
    began = time.monotonic()
    try:
        run.process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        raise Trouble(f"it has not ended {PATIENCE:.0f} s after that") from None
    took = time.monotonic() - began
    among = (
        own | others
    )  # a rack that somebody starts meanwhile may get the number of a namespace that has ended
    if not eventually(lambda: not _holders(held, among), racks.PATIENCE):
        raise Trouble(f"its namespaces are held by {[command_line(pid) for pid in _holders(held, among)]}")
    return took


def _spaces(pids: set[int]) -> set[str]:
    return set[str]().union(*map(spaces, pids))


def _holders(held: set[str], among: set[int]) -> list[int]:
    return [pid for pid in among & processes() if spaces(pid) & held]
