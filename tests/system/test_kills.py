"""``python -m benchmarks.kills``: a few of its kills, one of each victim, and what it does when something is left."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system import racks

SEED = "1184"  # whose first six come soon


def kills(state: Path, count: int) -> subprocess.CompletedProcess[str]:
    options = ["--kills", str(count), "--seed", SEED, "--full-every", "0", "--state", str(state)]
    command = [sys.executable, "-m", "benchmarks.kills", *options]
    environment = racks.environment()
    return subprocess.run(
        command,
        cwd=racks.REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def state() -> Iterator[Path]:
    """A short path: racks have sockets below it, whose paths may have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        yield Path(folder)


def test_whoever_is_killed_the_next_run_passes_and_what_is_left_is_told(state: Path) -> None:
    """Issue 6, done when: 1,000 random kills without a human, nothing left, resumable. Here one of each victim."""
    first = kills(state, 5)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "0 of 5 failed" in first.stdout
    (state / "tmp/hil-dfu-left").mkdir()
    then = kills(state, 6)
    assert then.returncode == 1, then.stdout + then.stderr
    (new,) = re.findall(r"^ +\d+ of 6 .*$", then.stdout, re.MULTILINE)
    assert new.endswith("FAILED: left in /tmp: ['hil-dfu-left']")
    victims = re.findall(r"^ +\d+ of \d  (pytest, rack stays|\w+)", first.stdout + then.stdout, re.MULTILINE)
    assert sorted(victims) == ["cloud", "launcher", "pytest", "pytest, rack stays", "rack", "watchdog"]
    assert re.search(r"^all kills +6 +5 +1 ", then.stdout, re.MULTILINE)
