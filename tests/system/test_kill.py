"""SIGKILL of pytest, of the launcher, of the rack: nothing is left, whenever it comes, and the next run passes."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hil.virtual.launch import rackbase
from tests.system import racks
from tests.system.traces import MARK, command_line, eventually, host, marked, processes, read, spaces

PUBLISHED = "test_a_publish_reaches_the_cloud_and_costs_one_operation[argon]"

# Tests that stop where they are to be killed: their line ``AT ...`` is the event.
MOMENTS = """
import os
import select
import threading
from pathlib import Path

import pytest

def stop_here(where):
    print(f"AT {where}", flush=True)
    threading.Event().wait()

@pytest.fixture
def slow_end(network):
    yield
    network.block(udp=5684)
    stop_here("teardown")

def test_moment_block(board, cloud, network):
    network.block(udp=5684)
    board.reset()
    assert cloud.never_online(board, for_=0.5)
    assert network.dropped(udp=5684) > 0
    stop_here("block")

def test_moment_teardown(board, slow_end):
    board.probe.publish("last/words")

def test_moment_dark_comes_after_a_failure():
    raise AssertionError("this is to be said")

def test_moment_dark(board):
    board.power.off()
    stop_here("dark")

def test_moment_last(board):
    from hil.virtual.launch import rackbase
    connection, rack = rackbase.supervisor(Path(os.environ["HIL_RACK"]))
    connection.close()
    end = os.pidfd_open(rack)
    print("AT last", flush=True)
    select.select([end], [], [])

@pytest.mark.parametrize("number", [1, 2])
def test_moment_gone(board, number): ...

def test_moment_flash(board, firmware):
    board.flash(firmware("probe", version=2).padded(120_000), force=True,
                progress=lambda done, total: done * 3 > total and stop_here("flash"))
"""


@dataclass(slots=True)
class Run:
    """A run under way, found again by a mark in the environment of all of its processes."""

    process: subprocess.Popen[str]
    mark: str
    heard: list[str] = field(default_factory=list)

    def wait_for(self, text: str) -> None:
        """Reads its output until ``text`` comes."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.heard.append(line)
            if text in line:
                return
        pytest.fail(f"it ended without {text!r}:\n{''.join(self.heard)}")

    def pids(self) -> set[int]:
        """Its processes, wherever they went in the tree."""
        return marked(self.mark)

    def pytest(self) -> int:
        """The pid of pytest: the launcher's child whose command line names no launcher."""
        found = [
            pid
            for pid in self.pids()
            if b"\0pytest\0" in command_line(pid) and b"rack" not in command_line(pid)
        ]
        assert len(found) == 1, [command_line(pid) for pid in found]
        return found[0]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> racks.Site:
    site = racks.new_site(tmp_path_factory.mktemp("kill"))
    (site.root / "test_moments.py").write_text(MOMENTS)
    return site


@pytest.fixture
def start(site: racks.Site) -> Iterator[Callable[..., Run]]:
    """Starts pytest in a rack; what is still there at the end of the test is ended."""
    runs: list[Run] = []

    def begin(*arguments: str) -> Run:
        mark = secrets.token_hex(8)
        process = subprocess.Popen(
            site.suites("-s", *arguments),
            cwd=racks.REPOSITORY,
            env=racks.environment(**{MARK: mark}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        runs.append(Run(process, mark))
        return runs[-1]

    yield begin
    for run in runs:
        for pid in run.pids():
            os.kill(pid, signal.SIGKILL)
        run.process.communicate(timeout=racks.PATIENCE)


@dataclass(slots=True)
class Traces:
    """What a run holds before it is killed, to be looked for afterwards."""

    run: Run
    base: Path
    spaces: set[str]
    others: set[int]
    host: dict[str, object]

    def assert_gone(self) -> None:
        assert eventually(lambda: not self.run.pids()), [command_line(pid) for pid in self.run.pids()]
        assert eventually(lambda: not self.base.exists())
        holders = {pid: held for pid in self.others & processes() if (held := spaces(pid) & self.spaces)}
        assert holders == {}
        assert host() == self.host


def traces(run: Run) -> Traces:
    own = run.pids()
    others = processes() - own
    held = set[str]().union(*map(spaces, own)) - spaces(os.getpid())
    kinds = {name.partition(":")[0] for name in held}
    assert kinds == {"net", "mnt", "user"}, "a rack is up, with namespaces of its own"
    variables = read(Path("/proc", str(run.pytest()), "environ")).split(b"\0")
    base = next(entry for entry in variables if entry.startswith(b"HIL_RACK=")).partition(b"=")[2]
    return Traces(run, Path(base.decode()), held, others, host())


def begin_publishing(start: Callable[..., Run], site: racks.Site, *moments: str) -> Run:
    """A run whose first test passes: proof that what was killed before it is no hindrance."""
    selected = " or ".join([PUBLISHED.partition("[")[0], *moments])
    arguments = ("suites/publish", str(site.root / "test_moments.py"), "--board", "argon", "-k", selected)
    run = start(*arguments)
    run.wait_for(f"{PUBLISHED} PASSED")
    return run


def kill_pytest(run: Run) -> None:
    held = traces(run)
    os.kill(run.pytest(), signal.SIGKILL)
    assert run.process.wait(racks.PATIENCE) == 128 + signal.SIGKILL
    held.assert_gone()


def test_runs_that_are_killed_leave_nothing_and_the_next_one_passes(
    site: racks.Site, start: Callable[..., Run]
) -> None:
    for moment in ("test session starts", PUBLISHED):  # boards boot; the first board is made ready
        run = start("suites/publish", "--board", "argon")
        run.wait_for(moment)
        kill_pytest(run)
    for moment in ("flash", "block", "teardown"):
        run = begin_publishing(start, site, f"moment_{moment}")
        run.wait_for(f"AT {moment}")
        kill_pytest(run)
    run = begin_publishing(start, site, "moment_block")
    held = traces(run)
    run.process.kill()
    assert run.process.wait(racks.PATIENCE) == -signal.SIGKILL
    held.assert_gone()
    last = begin_publishing(start, site)
    last.wait_for("1 passed")
    assert last.process.wait(racks.PATIENCE) == 0
    assert last.pids() == set()


def test_a_rack_killed_under_pytest_is_an_error_of_each_later_test(
    site: racks.Site, start: Callable[..., Run]
) -> None:
    run = begin_publishing(start, site, "moment_last", "moment_gone")
    run.wait_for("AT last")  # in a test that ends with the rack: none is half-way when it goes
    held = traces(run)
    connection, rack = rackbase.supervisor(held.base)
    connection.close()
    os.kill(rack, signal.SIGKILL)
    output, _ = run.process.communicate(timeout=racks.PATIENCE)
    assert run.process.returncode == 3  # the rig could not run its tests
    assert "hil rack: the rack ended before its command; its boards are gone" in output
    assert "argon at USB port 1-3" in output
    assert "INTERNALERROR" not in output
    held.assert_gone()


def test_a_run_that_is_interrupted_after_its_rack_had_gone_says_what_failed_before(
    site: racks.Site, start: Callable[..., Run]
) -> None:
    """At its end power cannot be restored; an error there left out the summary, and with it every failed test."""
    run = start(str(site.root / "test_moments.py"), "--board", "argon", "-k", "moment_dark")
    run.wait_for("AT dark")
    held = traces(run)
    connection, rack = rackbase.supervisor(held.base)
    connection.close()
    os.kill(rack, signal.SIGKILL)
    os.kill(run.pytest(), signal.SIGINT)
    output, _ = run.process.communicate(timeout=racks.PATIENCE)
    assert "KeyboardInterrupt" in output
    assert "AssertionError: this is to be said" in output
    assert "the rig did not end well: cannot switch argon-1 on" in output
    held.assert_gone()
