"""The rig room on whole boards: ``inside_rack.py`` and the commands, run in a virtual rack of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def in_rack(state: Path, *command: str) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "hil.cli.main", "rack", "run", "--state", str(state), "--"]
    return subprocess.run([*launcher, *command], cwd=ROOT, capture_output=True, text=True, timeout=240)


def test_the_rig_room_on_whole_boards(tmp_path: Path) -> None:
    inner = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--noconftest", "tests/rig/inside_rack.py"]
    done = in_rack(tmp_path, sys.executable, *inner)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "24 passed" in done.stdout


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
