"""What every board that runs starter does: one test item for each platform of the rig.

The types are for your editor; a test runs the same without them.
"""

from __future__ import annotations

from hil.testing import Board, Cloud, Operations


def test_it_adds_and_tells_the_sum(board: Board, cloud: Cloud, operations: Operations) -> None:
    before = cloud.read(board, "sum")
    assert isinstance(before, int)
    assert cloud.call(board, "add", "3") == before + 3
    event = cloud.events.expect("starter/sum", source=board, within=5)
    assert event.data == str(before + 3)
    assert operations.spent() == {"variable": 1, "function": 1, "publish": 1}
