"""Both sides prove who they are, and a board has no open door."""

from __future__ import annotations

import pytest

from fixtures.keys import StrangerKeys
from hil.netlab.scan import open_tcp_ports, open_udp_ports
from hil.testing import Board, Cloud, Network, Ports, ports_of


def port_of(board: Board) -> Ports:
    return ports_of(board.platform.transport)


@pytest.mark.board("photon", "electron")
def test_a_board_with_a_key_that_is_not_registered_is_refused(
    board: Board, cloud: Cloud, network: Network, stranger_key: bytes, offline_for: float
) -> None:
    with board.registered_with(stranger_key):
        tried = network.passed(**port_of(board))
        assert cloud.never_online(board, for_=offline_for)
        assert network.passed(**port_of(board)) > tried  # it knocked; the path is not what kept it out
    cloud.wait_online(board, within=30)


@pytest.mark.board("photon", "argon")
def test_a_cloud_with_a_wrong_key_is_refused_by_the_board(
    board: Board, cloud: Cloud, stranger_keys: StrangerKeys, offline_for: float
) -> None:
    with board.trusting(stranger_keys):
        assert cloud.never_online(board, for_=offline_for)
    cloud.wait_online(board, within=30)


@pytest.mark.board("photon", "boron")
def test_no_port_of_the_board_is_open(board: Board) -> None:
    if board.address is None:
        pytest.skip(f"the rig file has no address of {board.name}")
    assert open_tcp_ports(board.address) == []
    assert open_udp_ports(board.address, ports=[53, 67, 123, 161, 1900, 5353, 5683, 5684]) == []
