"""What is killed, what is looked for afterwards, and the smoke run: each kill from beginning to end."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from benchmarks.kill_plan import Plan
from benchmarks.kill_run import PATIENCE, Trouble, Under, left_of, locks_of, strike
from benchmarks.kill_tally import FULL_RUN, Outcome
from hil.rig.rigfile import load_rig
from tests.system import racks
from tests.system.traces import eventually, host, marked

STATE = "KILLS_STATE"  # of every process here: one that a killed benchmark left is found by it
_MOMENTS = Path(__file__).with_name("kill_moments.py")
_FULL = 1800.0  # seconds that all suites may take


class PlaySite(racks.Site):
    """What ``hil rack run --cloud --state`` keeps, for runs of pytest with its boards and its cloud."""

    @property
    def flash(self) -> Path:
        return self.root / "boards"


class Bench:
    """Everything below ``state``: the memories of two racks, and the one folder for temporary files."""

    def __init__(self, state: Path, seed: int) -> None:
        self._seed = seed
        self._state = state
        self._temporary = state / "tmp"
        self._site = racks.Site(state / "rack")
        self._play = PlaySite(state / "play")
        try:
            self._lock = _locked(state)  # one of these commands at a time
        except BlockingIOError:
            raise SystemExit(f"another one works in {state}") from None
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
            trouble += self._run(plan, smoke_command, PATIENCE)
            smoke = time.monotonic() - began
        trouble += self._after(site) + locks_of(run.seen)
        if host() != around:
            trouble.append("links, mounts or rules of this machine changed")
        how = (plan.victim, plan.moment, plan.signal.name, plan.board)
        return Outcome(self._seed, plan.number, *how, round(ended, 2), round(smoke, 2), trouble)

    def _end_of(self, run: Under, plan: Plan) -> tuple[float, list[str]]:
        """Kill it; seconds until it had ended, and what was wrong."""
        ended = 0.0
        try:
            ended = strike(run, plan)
            trouble = left_of(run)
        except Trouble as error:
            trouble = [str(error), *left_of(run)]
        finally:
            run.close()
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
            options = ["--rig", str(site.rig), "--state", str(site.root)]
            play = [*racks.HIL, *["rack", "run", "--cloud", "--fast"], *options]
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
        try:
            os.close(_locked(site.flash))
        except BlockingIOError:
            trouble.append("the boards' memory is still locked")
        return trouble

    def _run(self, plan: Plan, command: list[str], seconds: float) -> list[str]:
        """Runs pytest to its end; empty when it passes."""
        with closing(Under(command)) as run:
            with contextlib.suppress(subprocess.TimeoutExpired):
                run.process.wait(seconds)
            status = run.process.poll()
            trouble = [] if status == 0 else [f"the run afterwards ended with {status}"]
            trouble += left_of(run) if status is not None else []
        if trouble:
            eventually(lambda: run.silent, 5.0)
            self._keep(plan, "after", "".join(run.said))
        return trouble

    def _keep(self, plan: Plan, what: str, said: str) -> None:
        folder = self._state / "failures"
        folder.mkdir(exist_ok=True)
        (folder / f"{plan.number:04}-{what}.txt").write_text(f"{plan}\n{said}")


def _locked(folder: Path) -> int:
    """A descriptor that holds the file ``lock`` of a folder. Raises ``BlockingIOError`` when somebody else has it."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise
    return lock
