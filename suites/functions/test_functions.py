"""Cloud functions: the argument arrives, the result comes back, errors are clear."""

from __future__ import annotations

import pytest

from hil.device.platforms import event_data_limit
from hil.errors import DeviceOffline, NotFound
from hil.testing import Board, Cloud, Operations


def test_a_call_reaches_the_board_and_costs_one_operation(
    board: Board, cloud: Cloud, operations: Operations
) -> None:
    assert cloud.call(board, "probe_echo", "on") == 2
    assert [(call.name, call.argument) for call in board.probe.calls()][-1] == ("probe_echo", "on")
    assert operations.spent() == {"function": 1}


def test_an_empty_argument_is_an_argument(board: Board, cloud: Cloud) -> None:
    assert cloud.call(board, "probe_echo", "") == 0


def test_the_longest_argument_arrives_whole(board: Board, cloud: Cloud) -> None:
    limit = event_data_limit(board.platform, board.device_os)
    assert cloud.call(board, "probe_echo", "z" * limit) == limit


@pytest.mark.parametrize("result", [-1, 2147483647, -2147483648])
def test_a_result_is_a_signed_32_bit_number(board: Board, cloud: Cloud, result: int) -> None:
    board.probe.function("probe_answer", result)
    assert cloud.call(board, "probe_answer") == result


def test_the_cloud_knows_the_functions_of_the_board(board: Board, cloud: Cloud) -> None:
    assert {"probe_echo", "probe_answer"} <= set(cloud.device(board).functions)


def test_a_function_registered_later_appears_after_the_next_connect(board: Board, cloud: Cloud) -> None:
    board.probe.function("late_comer", 7)
    board.reconnect()
    assert cloud.call(board, "late_comer", "x") == 7


def test_an_unknown_function_is_an_error_and_costs_nothing(
    board: Board, cloud: Cloud, operations: Operations
) -> None:
    with pytest.raises(NotFound, match="no_such_function"):
        cloud.call(board, "no_such_function", "x")
    assert operations.spent() == {}


def test_a_call_to_an_offline_board_is_an_error_and_costs_nothing(
    board: Board, cloud: Cloud, operations: Operations
) -> None:
    board.disconnect()
    with pytest.raises(DeviceOffline):
        cloud.call(board, "probe_echo", "x")
    assert operations.spent() == {}
