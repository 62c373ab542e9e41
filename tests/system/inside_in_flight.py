"""Runs inside a virtual rack on a movable clock, started by ``test_in_flight.py``: one test leaves, the next looks.

The clock brings every retransmission of the next minute into a moment (protocol fact sheet 2.8: a board repeats what
was not acknowledged for 45 s and more, the cloud for 28 to 42 s).
"""

from __future__ import annotations

import pytest

from hil.testing import Board, Clock, Cloud, Network, Operations

ALL = ("photon", "electron", "argon", "boron")


@pytest.mark.board(*ALL)
def test_a_leaves_an_event_and_a_delivery_behind_a_closed_path(
    board: Board, cloud: Cloud, network: Network
) -> None:
    board.subscribe("downward")
    network.block()
    board.probe.publish("upward", "late")
    cloud.publish("downward", "late")
    assert cloud.events.absent("upward", source=board, within=0.3)
    assert network.dropped() > 0


@pytest.mark.board(*ALL)
def test_b_sees_and_pays_nothing_of_it(
    board: Board, cloud: Cloud, operations: Operations, clock: Clock
) -> None:
    clock.advance(seconds=60.0)
    assert cloud.events.all("upward") == []
    assert operations.spent() == {}
    assert board.probe.received() == []
    assert cloud.call(board, "probe_echo", "on") == 2
