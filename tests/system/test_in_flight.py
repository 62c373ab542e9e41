"""What a test left in flight never counts for the next one (issue 6, point 19), on every board and in any order."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from tests.system import racks

INSIDE = "tests/system/inside_in_flight.py"
LEAVES, LOOKS = (
    "test_a_leaves_an_event_and_a_delivery_behind_a_closed_path",
    "test_b_sees_and_pays_nothing_of_it",
)
BOARDS = ("photon", "electron", "argon", "boron")
# The next test of the same board, of another one, and of each after all have left something.
TURNS = {
    "same": [(test, board) for board in BOARDS for test in (LEAVES, LOOKS)],
    "other": [one for board, next_ in pairwise(BOARDS) for one in ((LEAVES, board), (LOOKS, next_))],
    "all": [(test, board) for test in (LEAVES, LOOKS) for board in BOARDS],
}


@pytest.mark.parametrize("turns", TURNS.values(), ids=TURNS)
def test_what_a_closed_path_stopped_is_not_the_next_tests(
    turns: list[tuple[str, str]], tmp_path: Path
) -> None:
    """Issue 6, point 19: it came in a test after, once the path was open, and was on its bill."""
    items = [f"{INSIDE}::{test}[{board}]" for test, board in turns]
    done = racks.run(racks.new_site(tmp_path).suites(*items, clock=True))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(items)} passed" in done.stdout
