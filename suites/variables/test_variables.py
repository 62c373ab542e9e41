"""Cloud variables of every type."""

from __future__ import annotations

import pytest

from hil.errors import DeviceOffline, NotFound
from hil.testing import Board, Cloud, Operations

VALUES = [
    ("bool", True),
    ("bool", False),
    ("int", 0),
    ("int", -2147483648),
    ("int", 2147483647),
    ("double", 3.141592653589793),
    ("double", -1e-300),
    ("string", ""),
    ("string", "21 °C"),
]


@pytest.mark.parametrize(("kind", "value"), VALUES)
def test_a_value_comes_back_as_it_was_set(
    board: Board, cloud: Cloud, operations: Operations, kind: str, value: bool | int | float | str
) -> None:
    board.probe.variable(f"probe_{kind}", value)
    read = cloud.read(board, f"probe_{kind}")
    assert read == value
    assert type(read) is type(value)
    assert operations.spent() == {"variable": 1}


def test_the_cloud_knows_the_variables_and_their_types(board: Board, cloud: Cloud) -> None:
    types = {name: kind.wire_name for name, kind in cloud.device(board).variables.items()}
    assert types == {
        "probe_bool": "bool",
        "probe_int": "int32",
        "probe_double": "double",
        "probe_string": "string",
    }


def test_changing_a_variable_costs_nothing(board: Board, operations: Operations) -> None:
    for number in range(5):
        board.probe.variable("probe_int", number)
    assert operations.spent() == {}


def test_an_unknown_variable_is_an_error(board: Board, cloud: Cloud, operations: Operations) -> None:
    with pytest.raises(NotFound, match="no_such_variable"):
        cloud.read(board, "no_such_variable")
    assert operations.spent() == {}


def test_a_variable_of_an_offline_board_is_an_error_and_costs_nothing(
    board: Board, cloud: Cloud, operations: Operations
) -> None:
    board.disconnect()
    with pytest.raises(DeviceOffline):
        cloud.read(board, "probe_int")
    assert operations.spent() == {}
