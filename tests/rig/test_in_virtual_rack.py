"""The rig room on whole boards: ``inside_rack.py`` and the commands, run in a virtual rack of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from hil import resources

ROOT = Path(__file__).parents[2]


IDLE = """
from hil.twin import Application, SystemMode

class App(Application):
    SYSTEM_MODE = SystemMode.SEMI_AUTOMATIC

    def loop(self) -> None:
        pass
"""


def in_rack(
    state: Path, *command: str, rig: Path | None = None, fast: bool = False
) -> subprocess.CompletedProcess[str]:
    options = ["--state", str(state), *(["--rig", str(rig)] if rig is not None else [])]
    options += ["--fast"] if fast else []
    launcher = [sys.executable, "-m", "hil.cli.main", "rack", "run", *options, "--"]
    return subprocess.run([*launcher, *command], cwd=ROOT, capture_output=True, text=True, timeout=240)


def rig_with_an_idle_application(root: Path) -> Path:
    """The packaged rig in a project of its own, with an application that never connects."""
    (root / "apps" / "idle").mkdir(parents=True)
    (root / "apps" / "idle" / "twin.py").write_text(IDLE)
    (root / "pyproject.toml").write_text('[tool.hil]\napplications = ["apps"]\n')
    rig = root / "rig.toml"
    rig.write_text(resources.virtual_rig().read_text())
    return rig


def run_inside(state: Path, file: str, rig: Path | None = None, *, fast: bool = False) -> str:
    inner = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--noconftest", f"tests/rig/{file}"]
    done = in_rack(state, sys.executable, *inner, rig=rig, fast=fast)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_rig_room_on_whole_boards(tmp_path: Path) -> None:
    assert "25 passed" in run_inside(tmp_path, "inside_rack.py")


def test_boards_and_their_place_at_the_cloud(tmp_path: Path) -> None:
    rig = rig_with_an_idle_application(tmp_path / "team")
    assert "29 passed" in run_inside(tmp_path / "state", "inside_rack_cloud.py", rig, fast=True)


def test_boards_and_doctor_see_what_is_there(tmp_path: Path) -> None:
    boards = in_rack(tmp_path, sys.executable, "-m", "hil.cli.main", "boards")
    assert boards.returncode == 0, boards.stderr
    rows = [line.split() for line in boards.stdout.splitlines()[1:]]
    assert [(row[0], row[1], row[3], row[-1]) for row in rows] == [
        ("photon-1", "1-1", "normal", "free"),
        ("electron-1", "1-2", "normal", "free"),
        ("argon-1", "1-3", "normal", "free"),
        ("boron-1", "1-4", "normal", "free"),
    ]
    doctor = in_rack(tmp_path, sys.executable, "-m", "hil.cli.main", "doctor")
    assert "all 4 of rig virtual" in doctor.stdout, doctor.stdout + doctor.stderr


KILLED = """
import os
import signal

def test_is_killed_while_the_board_is_dark(board):
    with board.without_power():
        os.kill(os.getpid(), signal.SIGKILL)
"""
VANISHING = """
import subprocess
import sys
import hil.rig.modes

hil.rig.modes.VANISHED_WITHIN = 3

def test_1(board):
    if board.name == "argon-1":
        board.power.switch._commands["on"] = ["true"]
        subprocess.run([sys.executable, "-m", "hil.cli.main", "rack", "power", "off", board.port], check=True)
        board.connection.wait_absent()

def test_2(board):
    assert board.present

def test_3(board):
    assert board.present
"""


def team(root: Path, **files: str) -> str:
    """A project with these test files; the shell's words that run pytest there."""
    root.mkdir()
    (root / "pyproject.toml").write_text("[tool.hil]\n")
    for name, text in files.items():
        (root / f"{name}.py").write_text(text)
    return f"cd {root} && {sys.executable} -m pytest -q -p no:cacheprovider"


def test_6_16_a_run_that_was_killed_with_a_board_dark_costs_the_next_run_nothing(tmp_path: Path) -> None:
    pytest = team(
        tmp_path / "team", test_killed=KILLED, test_after="def test_it(board): assert board.present"
    )
    hil = f"{sys.executable} -m hil.cli.main boards"
    script = f"{pytest} test_killed.py --board photon-1; {hil}; {pytest} test_after.py --board photon-1"
    done = in_rack(tmp_path / "state", "sh", "-c", script)
    assert "empty: nothing at USB port 1-1" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_6_16_a_board_that_vanishes_costs_its_tests_and_the_rest_goes_on(tmp_path: Path) -> None:
    pytest = team(tmp_path / "team", test_vanishing=VANISHING)
    done = in_rack(tmp_path / "state", "sh", "-c", f"{pytest} --board argon-1 --board photon-1")
    assert "4 passed, 2 errors" in done.stdout, done.stdout + done.stderr
    assert "switched its power on, and off and on" in done.stdout
    assert "argon-1 (argon at USB port 1-3) is quarantined" in done.stdout
