"""The launcher: exit status, signals, terminals, and that nothing is left whoever is killed."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from hil.cli.rack import command as rack_command
from hil.rig.rigfile import load_rig
from hil.virtual.kernel import trouble
from hil.virtual.launch import rackbase
from hil.virtual.launch.limits import rack_limits
from hil.virtual.launch.probe import probe

REPOSITORY = Path(__file__).resolve().parents[2]
RACK = [sys.executable, str(Path(__file__).parent / "devices.py"), "--"]
HIL = [sys.executable, "-c", "from hil.cli.rack import command; command()"]
PATIENCE = 20.0


def environment() -> dict[str, str]:
    found = os.environ | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])}
    found.pop("HIL_RACK", None)
    return found


def run(*command: str, rack: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*(RACK if rack else []), *command],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextlib.contextmanager
def running(script: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """A rack whose command is a shell ``script`` that says one line when it is ready; yields that line's words."""
    process = subprocess.Popen(
        [*RACK, "sh", "-c", script],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().split()
        finally:
            process.terminate()  # the launcher ends the command and the rack


def ended(pid: int) -> bool:
    """Waits until process ``pid`` has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], PATIENCE)[0])
    finally:
        os.close(descriptor)


def rack_of(base: str) -> int:
    """The pid of the rack at ``base``."""
    connection, pid = rackbase.supervisor(Path(base))
    connection.close()
    return pid


def eventually_gone(path: Path) -> bool:
    deadline = time.monotonic() + PATIENCE
    while path.exists() and time.monotonic() < deadline:
        select.select([], [], [], 0.01)
    return not path.exists()


PROMPT = "=> "
READY = 'echo "$$ $HIL_RACK $PPID"; '


@pytest.mark.parametrize(
    ("script", "status"),
    [("exit 0", 0), ("exit 42", 42), ("kill -TERM $$", 128 + 15), ("kill -KILL $$", 128 + 9)],
)
def test_the_exit_status_is_the_commands(script: str, status: int) -> None:
    assert run("sh", "-c", script).returncode == status


def test_a_command_that_cannot_be_executed(tmp_path: Path) -> None:
    missing = run("no-such-program")
    assert (missing.returncode, missing.stderr) == (127, "hil rack: no-such-program: command not found\n")
    plain = tmp_path / "plain"
    plain.write_text("text")
    assert run(str(plain)).returncode == 126


def test_nothing_is_left_after_a_run() -> None:
    base = Path(run("sh", "-c", "echo $HIL_RACK").stdout.strip())
    assert base.name.startswith("hil-rack-")
    assert not base.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_signals_reach_the_command(number: signal.Signals) -> None:
    name = number.name.removeprefix("SIG")
    with running(f'trap "echo got {name}; exit 5" {name}; {READY} while :; do sleep 0.05; done') as (
        process,
        words,
    ):
        assert len(words) == 3
        process.send_signal(number)
        output, _ = process.communicate(timeout=PATIENCE)
        assert output == f"got {name}\n"
        assert process.returncode == 5


def test_a_killed_command_leaves_nothing() -> None:
    with running(READY + "exec sleep 1000") as (process, (pid, base, _)):
        rack = rack_of(base)
        os.kill(int(pid), signal.SIGKILL)
        assert process.wait(PATIENCE) == 128 + 9
        assert ended(rack)
        assert not Path(base).exists()


def test_what_the_command_left_running_ends_with_the_rack() -> None:
    result = run("sh", "-c", "sleep 1000 & echo $!; exit 3")
    assert result.returncode == 3
    assert ended(int(result.stdout))


def test_a_killed_launcher_takes_the_rack_with_it_and_hangs_up_on_the_command() -> None:
    with running(READY + "exec sleep 1000") as (process, (pid, base, _)):
        rack = rack_of(base)
        process.kill()
        assert ended(rack)
        assert ended(int(pid))
        assert eventually_gone(Path(base))


def test_a_command_that_ignores_hangups_outlives_its_launcher() -> None:
    with running("trap '' HUP; " + READY + "exec sleep 1000") as (process, (pid, base, _)):
        rack = rack_of(base)
        process.kill()
        assert ended(rack)
        os.kill(int(pid), signal.SIGTERM)


def test_a_killed_rack_is_said_and_its_directory_swept_by_the_next() -> None:
    with running(READY + "exec sleep 1000") as (process, (_, base, _)):
        os.kill(rack_of(base), signal.SIGKILL)
        assert process.stderr is not None
        assert (
            process.stderr.readline() == "hil rack: the rack ended before its command; its boards are gone\n"
        )
        process.terminate()
        process.wait(PATIENCE)
    assert not Path(base).exists()


def test_only_directories_that_no_process_holds_are_swept() -> None:
    """A rack that starts or ends has no socket either: what tells it from a killed one is the lock on its directory."""
    starting, dead = rackbase.create(), rackbase.create()
    os.close(dead.lock)
    rackbase.sweep()
    assert starting.path.exists()
    assert not dead.path.exists()
    starting.remove()
    assert not starting.path.exists()


def test_two_racks_do_not_see_or_disturb_each_other() -> None:
    see = "import pyudev; print([d.sys_name for d in pyudev.Context().list_devices(DEVTYPE='usb_device')])"
    plug = "from tests.virtual.devices import Steering; Steering().plug('1-1', 'cdc')"
    with running(f'{sys.executable} -c "{plug}"; {READY} exec sleep 1000') as (_, (_, base, _)):
        assert run(sys.executable, "-c", see).stdout == "['usb1']\n"
        with running(READY + "exec sleep 1000") as (other, (_, other_base, _)):
            assert {base, other_base} <= {str(rack.base) for rack in rackbase.running()}
            other.terminate()
            other.wait(PATIENCE)
        still = run(*HIL, "exec", str(rack_of(base)), "--", sys.executable, "-c", see, rack=False)
        assert sorted(still.stdout.strip("[]\n").split(", ")) == ["'1-1'", "'usb1'"], still.stderr


def test_joining_a_running_rack_from_outside_and_from_inside() -> None:
    with running(READY + "exec sleep 1000") as (_, (_, base, _)):
        pid = rack_of(base)
        joined = run(
            *HIL, "exec", str(pid), "--", "sh", "-c", "echo $HIL_RACK; ls /dev/bus/usb/001", rack=False
        )
        assert joined.stdout.split() == [base, "001"], joined.stderr
    inside = run(*HIL, "exec", "--", "sh", "-c", "echo $HIL_RACK; exit 6")
    assert inside.returncode == 6
    assert "hil-rack-" in inside.stdout


def test_a_rack_in_a_rack_is_refused() -> None:
    result = run(*HIL, "run", "--rig", str(REPOSITORY / "rigs/virtual.toml"), "--", "true")
    assert result.returncode == 2
    assert "already runs inside a virtual rack" in result.stderr


class Terminal:
    """A rack on a terminal of its own."""

    def __init__(self, *command: str) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe(RACK[0], [*RACK, *command], environment() | {"PS1": PROMPT, "TERM": "dumb"})
        self.text = ""

    def wait_for(self, text: str) -> None:
        """Reads until ``text`` has appeared since the last call."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.text:
            if not select.select([self.fd], [], [], deadline - time.monotonic())[0]:
                raise TimeoutError(f"{text!r} not in {self.text!r}")
            self.text += os.read(self.fd, 4096).decode()
        self.text = self.text.partition(text)[2]

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def status(self) -> int:
        with contextlib.suppress(OSError):
            while os.read(self.fd, 4096):
                pass
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


# Says that it runs and that it was continued; in halves, for the terminal shows what is typed.
BUSY = (
    'import os, signal; signal.signal(signal.SIGCONT, lambda *_: os.write(1, b"goes" b" on")); '
    # In slices: a key that arrives just before a wait without end would be noticed only after it.
    'os.write(1, b"run" b"ning"); [signal.sigtimedwait((), 0.2) for _ in range(300)]'
)


def test_an_interactive_shell_has_keys_and_job_control() -> None:
    terminal = Terminal("bash", "--norc", "-i")
    busy = f"{sys.executable} -c '{BUSY}'\n"
    terminal.wait_for(PROMPT)
    terminal.type(busy)
    terminal.wait_for("running")
    terminal.type("\x03")
    terminal.wait_for(PROMPT)
    terminal.type("echo interrupted=$?\n")
    terminal.wait_for("interrupted=130")
    terminal.type(busy)
    terminal.wait_for("running")
    terminal.type("\x1a")
    terminal.wait_for("Stopped")
    terminal.wait_for(PROMPT)
    terminal.type("fg\n")
    terminal.wait_for("goes on")
    terminal.type("\x03")
    terminal.wait_for(PROMPT)
    terminal.type("exit 9\n")
    assert terminal.status() == 9


def test_a_key_reaches_a_plain_command_once() -> None:
    terminal = Terminal(
        "sh", "-c", 'n=0; trap "n=\\$((n+1))" INT; echo up; sleep 0.3; sleep 0.3; echo count=$n; exit $n'
    )
    terminal.wait_for("up")
    terminal.type("\x03")
    terminal.wait_for("count=1")
    assert terminal.status() == 1


BOARD = "[[slots]]\nname='%s'\nport='%s'\nplatform='%s'\ndevice_os='%s'\ndevice_id='%s'\n"
HEAD = "name = 'x'\n[cloud]\nhost = '198.18.0.2'\n"


def refusal(tmp_path: Path, text: str) -> list[str]:
    """What `hil rack run` says of a rig, without the path of the file; no rack is started."""
    rig = tmp_path / "rig.toml"
    rig.write_text(text)
    result = CliRunner().invoke(
        rack_command, ["run", "--rig", str(rig), "--state", str(tmp_path), "--", "true"]
    )
    assert result.exit_code == 2
    assert not (tmp_path / "lock").exists(), "the mistakes are told before anything is made"
    return [line.partition("rig.toml:")[2] for line in result.output.splitlines() if "rig.toml:" in line]


def test_a_wrong_rig_is_refused_before_the_rack_starts_with_every_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HIL_RACK", raising=False)
    good = BOARD % ("a", "1-1", "argon", "6.2.0", "a" * 24)
    bad = BOARD % ("b", "1-32", "core", "6.3.0", "b" * 23)
    releases = "2.3.1, 3.0.0, 3.1.0, 3.3.1, 4.0.0, 5.0.0, 5.5.0, 5.9.0, 6.2.0"
    assert refusal(tmp_path, HEAD + good + bad) == [
        "12: slots[2].port: the virtual rack has the ports 1-1 to 1-31",
        "13: slots[2].platform: there is no virtual core; there are photon, p1, electron, argon, boron, bsom, "
        "b5som, tracker",
        f"14: slots[2].device_os: virtual boards know the releases {releases}, did you mean '6.2.0'?",
        "15: slots[2].device_id: 24 hex digits in lower case are expected",
    ]
    assert refusal(tmp_path, HEAD) == [" slots: this key is missing"]


def test_the_rig_of_the_house_has_four_boards_that_the_rack_can_be() -> None:
    rig = load_rig(REPOSITORY / "rigs/virtual.toml", rack_limits())
    assert [(board.slot, board.port) for board in rig.boards] == [
        ("photon-1", "1-1"),
        ("electron-1", "1-2"),
        ("argon-1", "1-3"),
        ("boron-1", "1-4"),
    ]


def test_a_rig_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HIL_RACK", raising=False)
    result = CliRunner().invoke(rack_command, ["run", "--rig", "/no/such/rig.toml", "--", "true"])
    assert result.exit_code == 2
    assert "no rig file /no/such/rig.toml" in result.output


def test_a_state_directory_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HIL_RACK", raising=False)
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(rack_command, ["run", "--state", "file/state", "--", "true"])
    assert result.exit_code == 2
    assert "cannot write file/state" in result.output


def test_a_rack_has_as_many_ports_as_its_rig_asks_for(tmp_path: Path) -> None:
    rig = tmp_path / "rig.toml"
    rig.write_text(HEAD + BOARD % ("far", "1-12", "photon", "2.3.1", "a" * 24))
    command = [*HIL, "run", "--rig", str(rig), "--state", "state", "--"]
    look = "cd /sys/bus/usb/devices; cat usb1/maxchild 1-12/idProduct; lsusb -v -d 1d6b: | grep nNbrPorts"
    result = subprocess.run(
        [*command, "sh", "-c", look],
        env=environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.stdout.split() == ["12", "c006", "nNbrPorts", "12"], result.stderr


def test_a_rack_of_boards_and_a_second_on_the_same_memory(tmp_path: Path) -> None:
    rig = str(REPOSITORY / "rigs/virtual.toml")
    second = [*HIL, "run", "--rig", rig, "--state", "state", "--", "true"]
    # Outside the rack's environment: nesting would be refused first.
    inner = shlex.join(["env", "-u", "HIL_RACK", *second])
    command = [*HIL, "run", "--rig", rig, "--state", "state", "--", "sh", "-c", f"lsusb; {inner}; exit 3"]
    result = subprocess.run(
        command, env=environment(), cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 3, result.stderr
    assert result.stdout.count("ID 2b04:c0") == 4
    assert "another rack keeps its boards' memory in state" in result.stderr


def test_each_refusal_names_what_mends_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    restricted = tmp_path / "restricted"
    restricted.write_text("1\n")
    with pytest.raises(trouble.RackRefused, match="chmod 0666 /dev/fuse"), trouble.step("open /dev/fuse"):
        raise PermissionError(13, "no")
    with pytest.raises(trouble.RackRefused, match="modprobe fuse"), trouble.step("open /dev/fuse"):
        raise FileNotFoundError(2, "no")
    with pytest.raises(trouble.RackRefused, match="max_user_namespaces") as caught, trouble.step("unshare"):
        raise OSError(28, "no")
    assert (caught.value.step, caught.value.found) == ("unshare", "ENOSPC")
    monkeypatch.setattr(trouble, "_APPARMOR", restricted)
    with (
        pytest.raises(trouble.RackRefused, match="apparmor_restrict_unprivileged_userns=0"),
        trouble.step("mount x"),
    ):
        raise PermissionError(13, "no")


def test_the_probe_passes_where_racks_run_and_stops_at_what_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = probe()
    assert [step.ok for step in steps] == [True] * 4
    monkeypatch.setattr("hil.virtual.kernel.namespaces._DEVPTS", "no-such-option")
    failed = probe()
    assert [(step.step, step.ok, step.found) for step in failed[-1:]] == [("mount devpts", False, "EINVAL")]
