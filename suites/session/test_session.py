"""Sessions: coming back without a handshake, starting anew after the cloud ends one, sleeping.

Sizes are those of the protocol fact sheet (2.4 and 2.7): UDP payload bytes on the wire.
"""

from __future__ import annotations

import pytest

from hil.device.releases import version_tuple
from hil.testing import Board, Cloud, Network, Operations

ACK = 33


def _connection_id(board: Board) -> bool:
    return version_tuple(board.device_os) >= (3, 1, 0)


@pytest.mark.board("electron", "argon", "boron")
def test_coming_back_costs_one_ping_and_no_handshake(board: Board, cloud: Cloud, network: Network) -> None:
    board.disconnect()
    mark = cloud.mark()
    with network.recording() as packets:
        board.connect()
    assert "hello" not in [contact.kind for contact in cloud.contacts(board, since=mark)]
    ping = 53 if _connection_id(board) else 46
    assert packets.sent(udp=5684)[0] == ping
    assert packets.received(udp=5684)[0] == ACK


@pytest.mark.board("electron", "argon", "boron")
def test_what_the_board_registered_is_known_after_a_resume(
    board: Board, cloud: Cloud, operations: Operations
) -> None:
    board.probe.variable("probe_int", 17)  # whatever a test before this one made of it
    board.reconnect()
    assert cloud.call(board, "probe_echo", "known") == 5
    assert cloud.read(board, "probe_int") == 17
    assert operations.spent() == {"function": 1, "variable": 1}


@pytest.mark.board("argon", "boron")
def test_a_session_that_the_cloud_ended_is_made_anew(board: Board, cloud: Cloud, network: Network) -> None:
    mark = cloud.mark()
    with network.recording() as packets:
        cloud.disconnect(board)
        cloud.wait_online(board, within=60, since=mark)
    kinds = [contact.kind for contact in cloud.contacts(board, since=mark)]
    assert kinds == ["offline", "hello"]
    client_hello = 116 if _connection_id(board) else 111
    assert client_hello in packets.sent(udp=5684)


@pytest.mark.board("photon")
def test_a_tcp_board_makes_a_new_session_each_time(board: Board, cloud: Cloud) -> None:
    mark = cloud.mark()
    board.reconnect()
    assert [contact.kind for contact in cloud.contacts(board, since=mark)] == ["offline", "hello"]


@pytest.mark.board("photon", "argon")
def test_a_sleeping_board_is_away_and_comes_back_as_it_was(
    board: Board, cloud: Cloud, operations: Operations
) -> None:
    boots = board.probe.info().boots
    mark = cloud.mark()
    board.probe.sleep(1)
    cloud.wait_offline(board, within=10)
    cloud.wait_online(board, within=60, since=mark)
    board.wait_ready()
    assert board.probe.info().boots == boots
    assert operations.spent() == {}
