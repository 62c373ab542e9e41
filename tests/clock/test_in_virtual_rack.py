"""Boards, cloud and network service on one clock, in a virtual rack of their own."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from tests.system import racks


def test_minutes_and_days_of_whole_boards(tmp_path: Path) -> None:
    site = racks.new_site(tmp_path)
    done = racks.run(site.suites("tests/clock/inside_rack.py", clock=True))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 passed" in done.stdout


def test_a_hand_at_the_clock_of_a_rack(tmp_path: Path) -> None:
    hil = f"{sys.executable} -m hil.cli.main"
    script = f"{hil} clock advance 1h30m; {hil} clock show"
    done = racks.run(racks.new_site(tmp_path).rack("sh", "-c", script, clock=True))
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"[1-9]\d* timers fired on the way\n", done.stdout), done.stdout
    assert done.stdout.endswith("at real pace\n")


def test_without_a_clock_to_move_the_fixture_skips_and_the_command_says_what_to_do(tmp_path: Path) -> None:
    site = racks.new_site(tmp_path)
    hil = f"{sys.executable} -m hil.cli.main"
    done = racks.run(site.rack("sh", "-c", f"{hil} clock show"))
    assert done.returncode == 2
    assert "hil rack run --clock" in done.stderr
