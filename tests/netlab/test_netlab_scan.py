from __future__ import annotations

import contextlib
import socket

import pytest

from hil.errors import NetworkError, UsageError
from hil.netlab.scan import open_tcp_ports, open_udp_ports
from hil.netlab.topology import CLOUD_ADDRESS
from tests.netlab.conftest import InNamespaces
from tests.netlab.net_helpers import cloud_tcp, cloud_udp, connected_lab


def test_every_tcp_port_of_the_cloud_seen_from_a_board(in_namespaces: InNamespaces) -> None:
    def inside() -> None:
        listening = [1, 5683, 8080, 65535]
        with connected_lab() as (lab, network), contextlib.ExitStack() as stack:
            for port in listening:
                stack.enter_context(cloud_tcp((CLOUD_ADDRESS, port)))
            board = lab.board_network("a")

            def scan() -> list[int]:
                return board.namespace.run(lambda: open_tcp_ports(CLOUD_ADDRESS, timeout=5))

            assert scan() == listening
            network.block(tcp=8080, action="reject")
            assert scan() == [1, 5683, 65535]

    in_namespaces(inside)


def test_a_silent_port_counts_as_closed(in_namespaces: InNamespaces) -> None:
    def inside() -> None:
        with connected_lab() as (lab, network), cloud_tcp(), cloud_tcp((CLOUD_ADDRESS, 5690)):
            network.block(tcp=5683)
            found = open_tcp_ports(
                CLOUD_ADDRESS, range(5600, 5700), timeout=0.2, open_socket=lab.board_network("a").socket
            )
            assert found == [5690]

    in_namespaces(inside)


def test_a_scan_of_oneself_does_not_meet_itself(in_namespaces: InNamespaces) -> None:
    def inside() -> None:
        with connected_lab(), socket.create_server(("127.0.0.1", 40000)):
            assert open_tcp_ports("127.0.0.1", timeout=5) == [40000]

    in_namespaces(inside)


def test_udp_ports_that_do_not_refuse(in_namespaces: InNamespaces) -> None:
    def inside() -> None:
        with connected_lab() as (lab, network), cloud_udp(), cloud_udp((CLOUD_ADDRESS, 7)):
            opener = lab.board_network("a").socket
            assert open_udp_ports(CLOUD_ADDRESS, range(1, 6000), 0.2, open_socket=opener) == [7, 5684]
            network.block(udp=9)
            assert open_udp_ports(CLOUD_ADDRESS, [7, 8, 9], 0.2, open_socket=opener) == [7, 9]

    in_namespaces(inside)


def test_an_address_without_route_is_trouble_not_a_clean_result(in_namespaces: InNamespaces) -> None:
    def inside() -> None:
        with pytest.raises(NetworkError, match="no route"):
            open_tcp_ports("192.0.2.1", [80])
        with pytest.raises(NetworkError, match="no route"):
            open_udp_ports("192.0.2.1", [80])

    in_namespaces(inside)


def test_6_15_a_board_without_an_address_is_named_and_no_socket_is_left() -> None:
    """Issue 6, point 15 d."""
    made: list[socket.socket] = []

    def open_socket(family: int, kind: int) -> socket.socket:
        made.append(socket.socket(family, kind))
        return made[-1]

    for scan in (open_tcp_ports, open_udp_ports):
        with pytest.raises(UsageError, match="there is no address to scan"):
            scan(None, [80], open_socket=open_socket)
        with pytest.raises((OSError, NetworkError)):
            scan("no.such.host.invalid", [80, 81], open_socket=open_socket)
    assert made
    assert [each.fileno() for each in made] == [-1] * len(made), "each is closed"
