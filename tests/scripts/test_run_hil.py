"""``make hil ARGS=...`` runs what was asked for: ``scripts/run-hil`` with a rack that only runs its command."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# `hil rack run --rig FILE -- pytest ...` runs pytest without the plugin, whose option CONFTEST has instead;
# `hil report` says what it was asked.
HIL = f"""#!/bin/sh
[ "$1" = report ] && {{ echo "asked: hil $*"; exit 1; }}
while [ "$1" != pytest ]; do shift; done
shift
exec {sys.executable} -m pytest -p no:hil -p no:cacheprovider -v "$@"
"""
CONFTEST = """
import pathlib

def pytest_addoption(parser):
    parser.addoption("--board")

def pytest_runtest_logreport(report):
    folder = pathlib.Path("reports/allure-results")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{report.when}.json").touch()
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts/run-hil", tmp_path / "scripts")
    hil = tmp_path / ".venv/bin/hil"
    hil.parent.mkdir(parents=True)
    hil.write_text(HIL)
    hil.chmod(0o755)
    shutil.copy(ROOT / "pytest.ini", tmp_path)
    (tmp_path / "conftest.py").write_text(CONFTEST)
    for name in ("suites/firewall/test_ports.py", "suites/publish/test_events.py", "tests/test_house.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("def test_it(): ...\ndef test_other(): ...\n")
    return tmp_path


def run(checkout: Path, *arguments: str) -> tuple[int, list[str], str]:
    """Exit status, the tests that ran and everything that was said."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run(
        [checkout / "scripts/run-hil", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    return done.returncode, re.findall(r"^(\S+) PASSED", done.stdout, re.MULTILINE), done.stdout + done.stderr


EVENTS = ["suites/publish/test_events.py::test_it", "suites/publish/test_events.py::test_other"]
PORTS = ["suites/firewall/test_ports.py::test_it", "suites/firewall/test_ports.py::test_other"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), PORTS + EVENTS),
        (("--fast",), PORTS + EVENTS),
        (("--fast", "suites/firewall"), PORTS),
        (("suites/firewall",), PORTS),
        ((PORTS[1], "suites/publish"), [PORTS[1], *EVENTS]),
        (("-k", "publish", "--board", "argon"), EVENTS),
        (("--ignore", "suites/firewall"), EVENTS),  # a path, but none to run
    ],
)
def test_only_what_was_asked_for_runs(
    checkout: Path, arguments: tuple[str, ...], expected: list[str]
) -> None:
    status, ran, said = run(checkout, *arguments)
    assert (status, ran) == (0, expected), said


def test_the_report_is_of_this_run_and_the_status_the_suites_own(checkout: Path) -> None:
    assert run(checkout)[2].splitlines()[-1] == "asked: hil report --no-install"
    status, ran, said = run(checkout, "-k", "nothing")
    assert (status, ran) == (pytest.ExitCode.NO_TESTS_COLLECTED, [])
    assert "asked: hil report" not in said
