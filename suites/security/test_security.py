"""Both sides prove who they are, and a board has no open door."""

from __future__ import annotations

import pytest

from hil.netlab.scan import open_tcp_ports, open_udp_ports


def port_of(board):
    return {board.platform.transport.protocol: board.platform.transport.port}


@pytest.mark.board("photon", "electron")
def test_a_board_with_a_key_that_is_not_registered_is_refused(
    board, cloud, network, stranger_key, offline_for
):
    with board.registered_with(stranger_key):
        tried = network.passed(**port_of(board))
        assert cloud.never_online(board, for_=offline_for)
        assert network.passed(**port_of(board)) > tried  # it knocked; the path is not what kept it out
    cloud.wait_online(board, within=30)


@pytest.mark.board("photon", "argon")
def test_a_cloud_with_a_wrong_key_is_refused_by_the_board(board, cloud, stranger_keys, offline_for):
    with board.trusting(stranger_keys):
        assert cloud.never_online(board, for_=offline_for)
    cloud.wait_online(board, within=30)


@pytest.mark.board("photon", "boron")
def test_no_port_of_the_board_is_open(board):
    assert open_tcp_ports(board.address) == []
    assert open_udp_ports(board.address, ports=[53, 67, 123, 161, 1900, 5353, 5683, 5684]) == []
