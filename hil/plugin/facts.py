"""The facts of each test that JUnit files carry as properties: what it ran on, what it ran, what it cost.

pytest writes the properties of a test that it knows when the test is torn down, so they are gathered at every phase.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hil.plugin.boards import BOARDS_KEY, BoardOfTest

BOARD, CATEGORY = "board", "category"


def of_test(item: pytest.Item) -> None:
    """Put what is known of the boards of ``item`` into its properties; a second board has ``peer_board`` and so on."""
    boards: list[BoardOfTest] = item.stash.get(BOARDS_KEY, [])
    for place, each in enumerate(boards):
        before = "" if place == 0 else "peer_" if place == 1 else f"peer{place}_"
        for name, value in _facts(each):
            add(item, before + name, value)


def add(item: pytest.Item, name: str, value: str) -> None:
    """Set property ``name`` of ``item``."""
    item.user_properties[:] = [each for each in item.user_properties if each[0] != name]
    item.user_properties.append((name, value))


def _facts(each: BoardOfTest) -> Iterator[tuple[str, str]]:
    spent = each.spent.spent(each.board)
    yield BOARD, each.board.name
    yield "device_id", each.board.device_id
    yield "device_os", each.board.device_os
    yield "firmware", each.firmware
    yield "operations", ", ".join(f"{kind} {count}" for kind, count in sorted(spent.items())) or "0"
