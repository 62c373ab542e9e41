"""One kill from beginning to end: something runs in a rack, one of its processes is killed, what is left is found."""

from __future__ import annotations

import contextlib
import fcntl
import os
import queue
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.kill_plan import Plan
from benchmarks.kill_tally import FULL_RUN, Outcome
from hil.rig.rigfile import load_rig
from tests.system import racks
from tests.system.traces import MARK, command_line, eventually, host, marked, processes, read, spaces

STATE = "KILLS_STATE"  # of every process here: one that a killed benchmark left is found by it
_MOMENTS = Path(__file__).with_name("kill_moments.py")
_PATIENCE = 90.0  # seconds; only ever used up by a failure
_FULL = 1800.0  # seconds that all suites may take


class Trouble(Exception):
    """What should not have been."""


class PlaySite(racks.Site):
    """What ``hil rack run --cloud --state`` keeps, for runs of pytest with its boards and its cloud."""

    @property
    def flash(self) -> Path:
        return self.root / "boards"


class Under:
    """Something under way in a rack. Its output is read as it comes; its processes are known by a mark."""

    def __init__(self, command: list[str]) -> None:
        self.mark = secrets.token_hex(8)
        self.said: list[str] = []
        self.silent = False  # its output has ended
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
        ends = time.monotonic() + _PATIENCE
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, ends - time.monotonic()))
            except queue.Empty:
                raise Trouble(f"no {text!r} within {_PATIENCE:.0f} s") from None
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

        eventually(look, _PATIENCE)
        if not found:
            raise Trouble(
                f"it ended without a {victim}" if self.process.poll() is not None else f"no {victim}"
            )
        return min(found, key=_started)

    def end(self) -> None:
        """Whatever still runs."""
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(_PATIENCE)


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


class Bench:
    """Everything below ``state``: the memories of two racks, and the one folder for temporary files."""

    def __init__(self, state: Path, seed: int) -> None:
        self._seed = seed
        self._state = state
        self._temporary = state / "tmp"
        self._site = racks.Site(state / "rack")
        self._play = PlaySite(state / "play")
        self._lock = _locked(state)
        os.environ |= {STATE: str(state), "TMPDIR": str(self._temporary)}
        for pid in marked(str(state), STATE) - {os.getpid()}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)  # what this command left when it was killed itself
        for site in (self._site, self._play):
            site.root.mkdir(exist_ok=True)
            racks.write_rig(site)
        self._temporary.mkdir(exist_ok=True)
        self.boards = [slot.name for slot in load_rig(self._site.rig).slots]

    def kill(self, plan: Plan) -> Outcome:
        """Start, kill, look for what is left, and have the smoke run pass."""
        around = host()
        site = self._play if plan.victim == "cloud" else self._site
        with self._prepared(plan, site) as (run, smoke_command):
            ended, trouble = self._end_of(run, plan)
            began = time.monotonic()
            trouble += self._run(plan, smoke_command, _PATIENCE)
            smoke = time.monotonic() - began
        trouble += self._after(site)
        if host() != around:
            trouble.append("links, mounts or rules of this machine changed")
        how = (plan.victim, plan.moment, plan.signal.name, plan.board)
        return Outcome(self._seed, plan.number, *how, round(ended, 2), round(smoke, 2), trouble)

    def _end_of(self, run: Under, plan: Plan) -> tuple[float, list[str]]:
        """Kill it; seconds until it had ended, and what was wrong."""
        ended, trouble = 0.0, []
        try:
            ended = _strike(run, plan)
        except Trouble as error:
            trouble.append(str(error))
        finally:
            trouble += _left(run)
            run.end()
        if trouble:
            self._keep(plan, "killed", "".join(run.said))
        return ended, trouble

    def full(self, plan: Plan) -> Outcome:
        """All suites on all boards."""
        began = time.monotonic()
        trouble = self._run(plan, self._site.suites("suites"), _FULL) + self._after(self._site)
        return Outcome(self._seed, plan.number, FULL_RUN, smoke=time.monotonic() - began, trouble=trouble)

    @contextmanager
    def _prepared(self, plan: Plan, site: racks.Site) -> Iterator[tuple[Under, list[str]]]:
        """What is to be killed, started, and the command of the smoke run that follows."""
        moment = ["-s", f"{_MOMENTS}::test_moment_{plan.moment}", "--board", plan.board]
        smoke = [f"{_MOMENTS}::test_smoke", "--board", plan.board]
        if plan.victim == "pytest, rack stays":
            with racks.standing(site, fast=True) as rack:
                yield Under(rack.command(*site.pytest(*moment))), rack.command(*site.pytest(*smoke))
        elif plan.victim == "cloud":
            play = [
                *racks.HIL,
                "rack",
                "run",
                "--cloud",
                "--fast",
                "--rig",
                str(site.rig),
                "--state",
                str(site.root),
            ]
            player = [sys.executable, "-m", "benchmarks.kill_player", plan.moment, plan.board]
            yield Under([*play, "--", *player]), site.suites(*smoke)
        else:
            yield Under(site.suites(*moment)), site.suites(*smoke)

    def _after(self, site: racks.Site) -> list[str]:
        """What is left when nothing runs."""
        trouble = []
        if not eventually(lambda: not any(self._temporary.iterdir()), 5.0):
            trouble.append(f"left in /tmp: {sorted(path.name for path in self._temporary.iterdir())}")
        hidden = sorted(path.name for path in site.root.rglob(".*"))
        if hidden:
            trouble.append(f"left in the state: {hidden}")
        with (site.flash / "lock").open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                trouble.append("the boards' memory is still locked")
        return trouble

    def _run(self, plan: Plan, command: list[str], seconds: float) -> list[str]:
        """Runs pytest to its end; empty when it passes."""
        run = Under(command)
        try:
            run.process.wait(seconds)
        except subprocess.TimeoutExpired:
            run.end()
        status = run.process.returncode
        eventually(lambda: run.silent, 5.0)
        said = "".join(run.said)
        trouble = [] if status == 0 and " passed" in said else [f"the run afterwards ended with {status}"]
        trouble += _left(run)
        if trouble:
            self._keep(plan, "after", said)
        return trouble

    def _keep(self, plan: Plan, what: str, said: str) -> None:
        folder = self._state / "failures"
        folder.mkdir(exist_ok=True)
        (folder / f"{plan.number:04}-{what}.txt").write_text(f"{plan}\n{said}")


def _left(run: Under) -> list[str]:
    """Processes of a run after its end."""
    if eventually(lambda: not run.pids(), racks.PATIENCE):
        return []
    return [f"still there: {command_line(pid)!r}" for pid in run.pids()]


def _strike(run: Under, plan: Plan) -> float:
    """Kill at the moment. Returns the seconds until the run had ended; raises ``Trouble``."""
    victim = run.find(plan.victim)
    if plan.moment != "run":
        run.wait_for(f"AT {plan.moment}")
    time.sleep(plan.after)
    if run.process.poll() is not None:
        raise Trouble(f"it ended by itself with {run.process.returncode}")
    own = run.pids()
    held = _spaces(own) - _spaces(processes() - own)
    os.kill(victim, plan.signal)
    if plan.victim == "watchdog":
        run.forget()
        run.wait_for(f"AT {plan.moment}")  # nobody misses it
        run.process.send_signal(signal.SIGINT)
    began = time.monotonic()
    try:
        run.process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        raise Trouble(f"it has not ended {_PATIENCE:.0f} s after that") from None
    took = time.monotonic() - began
    if not eventually(lambda: not _holders(held), racks.PATIENCE):
        raise Trouble(f"its namespaces are held by {[command_line(pid) for pid in _holders(held)]}")
    return took


def _spaces(pids: set[int]) -> set[str]:
    return set[str]().union(*map(spaces, pids))


def _holders(held: set[str]) -> list[int]:
    return [pid for pid in processes() if spaces(pid) & held]


def _locked(state: Path) -> int:
    """One of these commands at a time."""
    state.mkdir(parents=True, exist_ok=True)
    lock = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SystemExit(f"another one works in {state}") from None
    return lock
