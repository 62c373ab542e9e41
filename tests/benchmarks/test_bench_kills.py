"""The plan of random kills, and what is kept of them."""

from __future__ import annotations

import json
from pathlib import Path
from signal import SIGINT, SIGKILL

import pytest

from benchmarks.kill_plan import MOMENTS, VICTIMS, plan
from benchmarks.kill_tally import FULL_RUN, Outcome, Progress, tally

BOARDS = ["photon-1", "argon-1"]


def test_the_same_seed_plans_the_same_kills_and_another_one_others() -> None:
    first = [plan(7, number, BOARDS) for number in range(60)]
    assert first == [plan(7, number, BOARDS) for number in range(60)]
    assert first != [plan(8, number, BOARDS) for number in range(60)]


def test_a_thousand_kills_have_every_victim_moment_and_board() -> None:
    plans = [plan(1, number, BOARDS) for number in range(1000)]
    for start in range(0, 996, len(VICTIMS)):
        turn = {each.victim for each in plans[start : start + len(VICTIMS)]}
        assert turn == {victim.name for victim in VICTIMS}
    wanted = {(victim.name, moment) for victim in VICTIMS for moment in victim.moments}
    assert {(each.victim, each.moment) for each in plans} == wanted
    assert len(wanted) == len(VICTIMS) * len(MOMENTS) - 1  # the cloud has no part in a flash over USB
    assert {each.board for each in plans} == set(BOARDS)
    killed = sum(each.signal is SIGKILL for each in plans)
    assert 600 < killed < 800


def test_nobody_is_sent_what_he_ignores() -> None:
    """The rack and its watchdog are out of reach of the keyboard: they ignore SIGINT."""
    plans = [plan(3, number, BOARDS) for number in range(1000)]
    interrupted = {each.victim for each in plans if each.signal is SIGINT}
    assert interrupted == {"pytest", "pytest, rack stays", "launcher", "cloud"}


def test_progress_goes_on_after_a_line_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "progress.jsonl"
    Progress(path, 1).add(Outcome(1, 0, "pytest", "run"))
    with path.open("a") as file:
        file.write('{"seed": 1, "number": 1, "vic')
    again = Progress(path, 1)
    assert (again.has(0), again.has(1)) == (True, False)
    again.add(Outcome(1, 1, "rack", "flash", trouble=["dark"]))
    assert [json.loads(line)["victim"] for line in path.read_text().splitlines()] == ["pytest", "rack"]
    assert Progress(path, 1).outcomes == again.outcomes


def test_progress_that_is_nothing_but_a_cut_off_line_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "progress.jsonl"
    path.write_text('{"seed": 1, "num')
    assert Progress(path, 1).outcomes == []
    assert path.read_text() == ""


def test_progress_of_another_seed_is_refused(tmp_path: Path) -> None:
    Progress(tmp_path / "progress.jsonl", 1).add(Outcome(1, 0, "pytest"))
    with pytest.raises(SystemExit, match="belongs to seed 1"):
        Progress(tmp_path / "progress.jsonl", 2)


def test_a_full_run_is_done_apart_from_the_kill_before_it(tmp_path: Path) -> None:
    progress = Progress(tmp_path / "progress.jsonl", 1)
    progress.add(Outcome(1, 99, "pytest", "run"))
    assert not progress.has(99, full=True)
    progress.add(Outcome(1, 99, FULL_RUN))
    assert progress.has(99, full=True)


def test_the_tally_counts_by_victim_and_moment() -> None:
    outcomes = [
        Outcome(1, 0, "rack", "flash", ended=1.0, smoke=5.0),
        Outcome(1, 1, "rack", "flash", ended=3.0, smoke=7.0, trouble=["dark"]),
        Outcome(1, 2, "rack", "run", ended=2.0, smoke=6.0),
        Outcome(1, 2, FULL_RUN, smoke=100.0),
    ]
    rows = [[cell for cell in row if cell] for row in tally(outcomes).rows]
    assert rows == [
        ["rack, flash", "2", "1", "1", "2.0", "6.0"],
        ["rack, run", "1", "1", "0", "2.0", "6.0"],
        [FULL_RUN, "1", "1", "0", "0.0", "100.0"],
        ["all kills", "3", "2", "1", "2.0", "6.0"],
    ]
