"""The cloud's port behind a firewall: blocked, rejected, open again, and what the firewall itself counted."""

from __future__ import annotations

import pytest


def _port(board):
    return {board.platform.transport.protocol: board.platform.transport.port}


@pytest.mark.board("photon", "electron", "argon")
def test_a_blocked_port_keeps_a_board_offline_until_it_opens(board, cloud, network, offline_for):
    network.block(**_port(board))
    board.reset_hard()
    assert cloud.never_online(board, for_=offline_for)
    assert network.dropped(**_port(board)) > 0
    network.clear()
    cloud.wait_online(board, within=60)


@pytest.mark.board("photon", "argon")
def test_a_rejected_port_keeps_a_board_offline_until_it_opens(board, cloud, network, offline_for):
    network.block(**_port(board), action="reject")
    board.reset_hard()
    assert cloud.never_online(board, for_=offline_for)
    assert network.dropped(**_port(board)) > 0
    network.clear()
    cloud.wait_online(board, within=60)


def test_the_other_transports_port_is_of_no_concern(board, cloud, network):
    other = {"tcp": 5683} if "udp" in _port(board) else {"udp": 5684}
    network.block(**other)
    board.reconnect()
    assert cloud.online(board)
    assert network.dropped(**other) == 0


def test_only_the_cloud_port_is_enough(board, cloud, network):
    network.allow_only(**_port(board))
    board.reconnect()
    assert cloud.call(board, "probe_echo", "through") == 7
    assert network.passed(**_port(board)) > 0


@pytest.mark.board("photon", "argon")
def test_events_wait_for_nobody_while_the_port_is_closed(board, cloud, network):
    network.block(**_port(board))
    board.probe.publish("storm/first", "lost or late", flags="noack")
    assert cloud.events.absent("storm/first", source=board, within=0.5)
    assert network.dropped(**_port(board)) > 0


@pytest.mark.board("argon")
def test_a_retransmitted_event_arrives_once_when_the_port_opens(board, cloud, network, operations):
    network.block(udp=5684)
    board.probe.publish("storm/retried", "patience")
    assert cloud.events.absent("storm/retried", source=board, within=0.5)
    network.clear()
    assert cloud.events.expect("storm/retried", source=board, within=15).data == "patience"
    assert operations.spent() == {"publish": 1}
