"""Issue 6, point 17: a rack or a launcher that is stopped ends the run with an error that names it, in bounded time."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from hil.virtual.launch import watchdog
from tests.virtual.test_rack_run import (
    PATIENCE,
    READY,
    Terminal,
    ended,
    eventually_gone,
    rack_of,
    run,
    running,
)

CLIENTS = str(Path(__file__).parent / "usbclients.py")


@pytest.fixture(autouse=True)
def two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of silence are enough here."""
    monkeypatch.setenv("RACK_SILENCE", "2")


def test_who_waits_for_a_stopped_rack_gets_an_error_and_the_run_says_why() -> None:
    result = run(sys.executable, CLIENTS, "rack_stopped")
    assert result.stdout == '{"usb": true, "serial": true}\n', result.stderr
    assert "has not answered for 2 s: it is stopped. It is ended, and the run with it" in result.stderr
    assert "hil rack: the rack ended before its command; its boards are gone\n" in result.stderr
    assert result.returncode == 3, "a command's success without its rack is none"


def test_a_command_that_goes_on_without_its_rack_is_interrupted() -> None:
    with running('trap "echo interrupted; exit 4" INT; ' + READY + "while :; do sleep 0.1; done") as (
        process,
        (_, base, _),
    ):
        os.kill(rack_of(base), signal.SIGSTOP)
        output, _ = process.communicate(timeout=2 * PATIENCE)
        assert (output, process.returncode) == ("interrupted\n", 3)
    assert eventually_gone(Path(base))


STOPPING = """
import os, usb.core
from tests.virtual.devices import Steering
from tests.virtual.usbclients import stop

def test_it():
    steering = Steering()
    steering.plug("1-1", "cdc")
    device = usb.core.find(idVendor=0x2B04)
    device.ctrl_transfer(0xC0, 0x50, 0, 0, 8)
    stop(steering.pid())
    os.write(1, b"stopped.")
    device.ctrl_transfer(0xC0, 0x50, 0, 0, 8)
"""


def test_ctrl_c_ends_a_pytest_that_waits_for_a_stopped_rack(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(STOPPING)
    options = ["-p", "no:cacheprovider", "-p", "no:hil", "-q", "-s", f"--rootdir={tmp_path}"]
    terminal = Terminal(sys.executable, "-m", "pytest", *options, str(tmp_path))
    terminal.wait_for("stopped.")
    terminal.type("\x03")
    terminal.wait_for("KeyboardInterrupt")
    assert terminal.status() == 2, "pytest's own: interrupted"


def test_a_rack_that_stops_while_it_starts() -> None:
    script = (
        "import os, signal, contextlib\n"
        "from hil.errors import HilError\n"
        "from hil.virtual.launch import launcher\n"
        "@contextlib.contextmanager\n"
        "def compose(kernel):\n"
        "    kernel.start()\n"
        "    os.kill(os.getpid(), signal.SIGSTOP)\n"
        "    yield {}\n"
        "try:\n"
        "    launcher.run(['true'], compose, silence=2)\n"
        "except HilError as error:\n"
        "    print(error)\n"
    )
    result = run(sys.executable, "-c", script, rack=False)
    assert "the virtual rack ended while it started" in result.stdout
    assert "has not answered for 2 s: it is stopped" in result.stderr


def test_a_launcher_that_was_stopped_ends_once_its_command_has() -> None:
    with running(READY + "read line; echo $line; exit 7") as (process, (_, base, launcher)):
        os.kill(int(launcher), signal.SIGSTOP)
        rack = rack_of(base)
        assert process.stdin is not None
        process.stdin.write("on it goes\n")
        process.stdin.flush()
        output, errors = process.communicate(timeout=PATIENCE)
        assert (output, process.returncode) == ("on it goes\n", 7)
        assert f"the launcher (process {launcher}) was stopped; its command has ended" in errors
        assert ended(rack)


def test_a_launcher_killed_while_its_rack_is_stopped_leaves_neither() -> None:
    with running(READY + "exec sleep 1000") as (process, (_, base, _)):
        rack = rack_of(base)
        os.kill(rack, signal.SIGSTOP)
        process.kill()
        assert ended(rack)


def test_a_rack_that_is_stopped_for_a_moment_goes_on() -> None:
    with running(READY + "read line; exit 0") as (process, (_, base, _)):
        rack = rack_of(base)
        os.kill(rack, signal.SIGSTOP)
        os.kill(rack, signal.SIGCONT)
        assert process.stdin is not None
        process.communicate("\n", timeout=PATIENCE)
        assert process.returncode == 0


class Rack:
    """A rack's kernel that may hang."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.requests = frozenset[int]()

    def under_way(self) -> frozenset[int]:
        return self.requests


def heard(pipe: int, seconds: float) -> bool:
    return bool(select.select([pipe], [], [], seconds)[0])


@pytest.mark.parametrize("trouble", ["a device that never answers", "a lock that nobody gives back"])
def test_a_rack_that_hangs_is_silent(trouble: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "_BEAT", 0.001)
    rack = Rack()
    reading, writing = os.pipe()
    watchdog.beat(rack, writing)
    assert heard(reading, PATIENCE)
    if trouble.startswith("a device"):
        rack.requests = frozenset({7})
    else:
        rack.lock.acquire()
    deadline = time.monotonic() + PATIENCE
    while heard(reading, 0.5) and time.monotonic() < deadline:
        os.read(reading, 65536)
    assert not heard(reading, 0.5)
    if trouble.startswith("a device"):
        rack.requests = frozenset({8})
    else:
        rack.lock.release()
    assert heard(reading, PATIENCE)
