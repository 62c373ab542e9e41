"""What the wheel holds, and that it is enough away from a checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

from hil import __version__

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
INFO = f"hil-{__version__}.dist-info"


def test_rigs_rules_and_applications_travel_inside_the_package(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "hil/py.typed",
        "hil/rigs/virtual.toml",
        "hil/rigs/example-bench.toml",
        "hil/rigs/66-hil-particle.rules",
        "hil/firmware/README.md",
        "hil/firmware/probe/twin.py",
        "hil/firmware/probe/src/probe.cpp",
        "hil/firmware/blinker/twin.py",
        "hil/firmware/blinker/src/blinker.cpp",
        "hil/cli/starter/ci-run",
        "hil/cli/starter/firmware/starter/twin.py",
        "hil/cli/starter/firmware/starter/src/starter.cpp",
        "hil/cli/starter/suites/test_starter.py",
    } <= names
    assert [name for name in names if "__pycache__" in name or name.endswith(".pyc")] == []
    assert {name.partition("/")[0] for name in names} == {"hil", INFO}


def test_pytest_is_told_of_the_plugin(wheel: Path) -> None:
    points = zipfile.ZipFile(wheel).read(f"{INFO}/entry_points.txt").decode()
    assert "[pytest11]\nhil = hil.plugin\n" in points


def test_an_installed_hil_finds_what_it_needs_in_a_team_s_project(wheel: Path, tmp_path: Path) -> None:
    site, team = tmp_path / "site", tmp_path / "team"
    (team / "suites").mkdir(parents=True)
    (team / "pyproject.toml").write_text("[tool.hil]\n")
    install = [*PIP, "install", "--no-index", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True, timeout=120)
    ask = (
        "from hil import resources; from hil.rig.rigfile import find_rig, load_rig\n"
        "rig = load_rig(find_rig())\n"
        "print(find_rig(), resources.folder('firmware'), resources.udev_rules(), rig.firmware.directory)"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HIL_")}
    done = subprocess.run(
        [sys.executable, "-c", ask],
        cwd=team / "suites",
        env={**environment, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.split() == [
        f"{site}/hil/rigs/virtual.toml",
        f"{site}/hil/firmware",
        f"{site}/hil/rigs/66-hil-particle.rules",
        f"{team}/.hil/images",
    ], done.stderr
