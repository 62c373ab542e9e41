"""Issue 6, point 17: Ctrl-C ends work on several boards, however long one of them takes."""

from __future__ import annotations

import _thread
import threading

import pytest

from hil.errors import RigError
from hil.rig import sidebyside
from hil.rig.sidebyside import side_by_side


def test_results_are_in_order_and_calls_are_at_the_same_time() -> None:
    both = threading.Barrier(2, timeout=20)

    def work(number: int, text: str) -> str:
        both.wait()
        return f"{text}{number}"

    assert side_by_side(work, [1, 2], ["a", "b"]) == ["a1", "b2"]
    assert side_by_side(work, [], []) == []


def test_the_first_error_is_raised_once_all_have_ended() -> None:
    done = []

    def work(number: int) -> None:
        done.append(number)
        if number < 3:
            raise RigError(f"board {number}")

    with pytest.raises(RigError, match="board 1"):
        side_by_side(work, [1, 2, 3])
    assert sorted(done) == [1, 2, 3]


def test_ctrl_c_does_not_wait_for_a_board_that_has_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sidebyside, "GRACE", 0.1)
    back = threading.Event()

    def wait_for_the_board(_number: int) -> None:
        _thread.interrupt_main()
        back.wait(60)

    with pytest.raises(KeyboardInterrupt):
        side_by_side(wait_for_the_board, [1])
    assert not back.is_set()
    back.set()


def test_ctrl_c_lets_what_is_quick_come_to_its_end() -> None:
    ended = []

    def switch_off_and_on(_number: int) -> None:
        _thread.interrupt_main()
        ended.append("on")

    with pytest.raises(KeyboardInterrupt):
        side_by_side(switch_off_and_on, [1])
    assert ended == ["on"]
