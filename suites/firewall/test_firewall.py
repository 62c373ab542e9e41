"""The cloud's port behind a firewall: blocked, rejected, open again, and what the firewall itself counted."""

from __future__ import annotations

import pytest

from hil.testing import Board, Cloud, Network, Operations, Ports, ports_of


def port_of(board: Board) -> Ports:
    return ports_of(board.platform.transport)


@pytest.mark.board("photon", "electron", "argon")
def test_a_blocked_port_keeps_a_board_offline_until_it_opens(
    board: Board, cloud: Cloud, network: Network, offline_for: float
) -> None:
    network.block(**port_of(board))
    board.reset_hard()
    assert cloud.never_online(board, for_=offline_for)
    assert network.dropped(**port_of(board)) > 0
    network.clear()
    cloud.wait_online(board, within=60)


@pytest.mark.board("photon", "argon")
def test_a_rejected_port_keeps_a_board_offline_until_it_opens(
    board: Board, cloud: Cloud, network: Network, offline_for: float
) -> None:
    network.block(**port_of(board), action="reject")
    board.reset_hard()
    assert cloud.never_online(board, for_=offline_for)
    assert network.dropped(**port_of(board)) > 0
    network.clear()
    cloud.wait_online(board, within=60)


def test_the_other_transports_port_is_of_no_concern(board: Board, cloud: Cloud, network: Network) -> None:
    other = Ports(tcp=5683) if "udp" in port_of(board) else Ports(udp=5684)
    network.block(**other)
    board.reconnect()
    assert cloud.online(board)
    assert network.dropped(**other) == 0


def test_only_the_cloud_port_is_enough(board: Board, cloud: Cloud, network: Network) -> None:
    network.allow_only(**port_of(board))
    board.reconnect()
    assert cloud.call(board, "probe_echo", "through") == 7
    assert network.passed(**port_of(board)) > 0


@pytest.mark.board("photon", "argon")
def test_events_wait_for_nobody_while_the_port_is_closed(
    board: Board, cloud: Cloud, network: Network
) -> None:
    network.block(**port_of(board))
    board.probe.publish("storm/first", "lost or late", flags="noack")
    assert cloud.events.absent("storm/first", source=board, within=0.5)
    assert network.dropped(**port_of(board)) > 0


@pytest.mark.board("argon")
def test_a_retransmitted_event_arrives_once_when_the_port_opens(
    board: Board, cloud: Cloud, network: Network, operations: Operations
) -> None:
    network.block(udp=5684)
    board.probe.publish("storm/retried", "patience")
    assert cloud.events.absent("storm/retried", source=board, within=0.5)
    network.clear()
    assert cloud.events.expect("storm/retried", source=board, within=15).data == "patience"
    assert operations.spent() == {"publish": 1}
