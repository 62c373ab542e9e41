"""Issue 6, point 20: the exit status tells product failures, a rig that could not run tests, and misuse apart."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SUITE = """
import pytest
from hil.errors import BoardNotFound, DeviceTimeout, FlashError, NetworkError, UsageError

def test_passes():
    pass

def test_product():
    assert 1 == 2

def test_product_does_not_answer_a_call():
    raise DeviceTimeout("no answer to water()")

@pytest.fixture
def no_board():
    raise BoardNotFound("argon at USB port 1-3")

def test_rig_lost_a_board(no_board):
    pass

@pytest.fixture
def silent():
    raise DeviceTimeout("it never came online")

def test_rig_offline(silent):
    pass

def test_rig_cannot_flash():
    raise FlashError("dfu-util ended")

def test_rig_has_no_nft():
    raise NetworkError("nft")

def test_misuse():
    raise UsageError("no such marker")

@pytest.mark.board(count=99)
def test_skipped(board):
    "Asks for boards: without one, a run is none of a rig's."
"""
RUNS = {
    "passes": (0, ""),
    "product": (1, ""),
    "rig": (3, "verdict: the rig could not run 4 tests"),
    "rig_lost": (3, "verdict: the rig could not run 1 test"),
    "misuse": (4, "verdict: 1 test was asked for wrongly"),
    "product or rig": (1, "verdict: 2 tests failed; the rig could not run 4 tests"),
    "misuse or rig_offline": (3, "verdict: the rig could not run 1 test; 1 test was asked for wrongly"),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("verdict")
    (root / "test_verdict.py").write_text(SUITE)
    return root


@pytest.mark.parametrize(("selected", "expected"), RUNS.items())
def test_who_is_at_fault(site: Path, selected: str, expected: tuple[int, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", f"{selected} or skipped"],
        cwd=site,
        capture_output=True,
        text=True,
        check=False,
    )
    verdicts = [line for line in done.stdout.splitlines() if line.startswith("verdict: ")]
    assert (done.returncode, verdicts) == (expected[0], [expected[1]] if expected[1] else []), done.stdout
