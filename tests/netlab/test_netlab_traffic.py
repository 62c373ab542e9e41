from __future__ import annotations

import contextlib
import errno
import socket
import time

import pytest

from hil.errors import NetworkError
from hil.netlab.client import Network
from hil.netlab.service import NetworkService
from tests.netlab.conftest import InNamespaces
from tests.netlab.net_helpers import (
    PATIENCE,
    SILENCE,
    TCP,
    UDP,
    board_tcp,
    board_udp,
    cloud_tcp,
    cloud_udp,
    connected_lab,
    running_lab,
)


def _round_trip(server: socket.socket, client: socket.socket, data: bytes) -> None:
    client.send(data)
    received, peer = server.recvfrom(100)
    assert received == data
    server.sendto(data, peer)
    assert client.recv(100) == data


def _is_silent(client: socket.socket) -> bool:
    client.settimeout(SILENCE)
    try:
        client.recv(100)
    except TimeoutError:
        return True
    finally:
        client.settimeout(PATIENCE)
    return False


def test_dropped_datagrams_are_counted_exactly_and_flow_again_after_clear(
    in_namespaces: InNamespaces,
) -> None:
    def inside() -> None:
        with (
            connected_lab() as (lab, network),
            cloud_udp() as server,
            board_udp(lab.board_network("a")) as client,
        ):
            _round_trip(server, client, b"before")
            network.block(udp=5684)
            for _ in range(17):
                client.send(b"0123456789")
            assert _is_silent(server)
            assert network.dropped(udp=5684) == 17
            assert network.passed(udp=5684) == 2
            network.clear()
            _round_trip(server, client, b"after")
            assert network.dropped(udp=5684) == 17
            assert network.passed(udp=5684) == 4
            assert network.passed(udp=5683) == network.dropped(tcp=5684) == 0

    in_namespaces(inside)


def test_a_block_stops_the_clouds_datagrams_too(in_namespaces: InNamespaces) -> None:
    def inside() -> None:
        with (
            connected_lab() as (lab, network),
            cloud_udp() as server,
            board_udp(lab.board_network("a")) as client,
        ):
            client.send(b"hello")
            _, peer = server.recvfrom(100)
            network.block(udp=5684)
            for _ in range(5):
                server.sendto(b"push", peer)
            assert _is_silent(client)
            rows = [row for row in network.counters() if row["dropped"]]
            assert rows == [
                {
                    "board": "10.77.1.2",
                    "protocol": "udp",
                    "port": 5684,
                    "direction": "down",
                    "passed": 0,
                    "passed_bytes": 0,
                    "dropped": 5,
                    "dropped_bytes": 5 * (20 + 8 + 4),
                }
            ]

    in_namespaces(inside)


def test_an_established_tcp_session_stops_and_goes_on(in_namespaces: InNamespaces) -> None:
    def inside() -> None:
        with (
            connected_lab() as (lab, network),
            cloud_tcp() as listener,
            board_tcp(lab.board_network("a")) as client,
        ):
            server, _ = listener.accept()
            with server:
                server.settimeout(PATIENCE)
                client.sendall(b"up")
                assert server.recv(100) == b"up"
                network.block(tcp=5683)
                client.sendall(b"held")
                assert _is_silent(server)
                assert network.dropped(tcp=5683) > 0
                network.clear()
                assert server.recv(100) == b"held"

    in_namespaces(inside)


def test_an_established_tcp_session_is_reset_by_reject(in_namespaces: InNamespaces) -> None:
    def inside() -> None:
        with (
            connected_lab() as (lab, network),
            cloud_tcp() as listener,
            board_tcp(lab.board_network("a")) as client,
        ):
            server, _ = listener.accept()
            with server:
                network.block(tcp=5683, action="reject")
                client.sendall(b"x")
                with pytest.raises(ConnectionResetError):
                    client.recv(100)

    in_namespaces(inside)


def test_a_connect_through_a_drop_times_out_and_other_ports_work(in_namespaces: InNamespaces) -> None:
    def inside() -> None:
        with connected_lab() as (lab, network), cloud_tcp(), cloud_udp() as server:
            network.block(tcp=5683)
            board = lab.board_network("a")
            with pytest.raises(TimeoutError):
                board_tcp(board, timeout=SILENCE)
            assert network.dropped(tcp=5683) == 1
            with board_udp(board) as client:
                _round_trip(server, client, b"udp works")

    in_namespaces(inside)


def test_reject_refuses_both_protocols_at_once(in_namespaces: InNamespaces) -> None:
    def inside() -> None:
        with connected_lab() as (lab, network), cloud_tcp(), cloud_udp():
            network.block(udp=5684, tcp=5683, action="reject")
            board = lab.board_network("a")
            with pytest.raises(ConnectionRefusedError):
                board_tcp(board)
            with board_udp(board) as client:
                for _ in range(20):  # every one is refused: the router's ICMP errors are not rationed
                    client.send(b"x")
                    with pytest.raises(ConnectionRefusedError):
                        client.recv(100)
            assert network.dropped(udp=5684) == 20
            assert network.dropped(tcp=5683) == 1
            assert network.dropped() == 21

    in_namespaces(inside)


def test_a_block_for_one_board_leaves_the_other_alone(in_namespaces: InNamespaces) -> None:
    def inside() -> None:
        with connected_lab("a", "b") as (lab, network), cloud_udp() as server:
            one, two = lab.board_network("a"), lab.board_network("b")
            network.block(udp=5684, board=one.address)
            with board_udp(one) as blocked, board_udp(two) as free:
                blocked.send(b"x")
                _round_trip(server, free, b"y")
                assert network.dropped(udp=5684, board=one.address) == 1
                assert network.dropped(udp=5684, board=two.address) == 0
                assert network.passed(udp=5684, board=two.address) == 2

    in_namespaces(inside)


def test_a_block_for_all_still_counts_each_board(in_namespaces: InNamespaces) -> None:
    def inside() -> None:
        with connected_lab("a", "b") as (lab, network):
            network.block(udp=5684)
            for slot, count in (("a", 3), ("b", 4)):
                board = lab.board_network(slot)
                with board_udp(board) as client:
                    for _ in range(count):
                        client.send(b"x")
                _until_dropped(network, board.address, count)
            assert network.dropped(udp=5684) == 7

    in_namespaces(inside)


@pytest.mark.parametrize("action", ["drop", "reject"])
def test_a_block_without_port_cuts_a_board_off(in_namespaces: InNamespaces, action: str) -> None:
    def inside() -> None:
        with connected_lab("a", "b") as (lab, network), cloud_tcp(), cloud_udp() as server:
            board = lab.board_network("a")
            network.block(board=board.address, action=action)
            expected: type[OSError] = TimeoutError if action == "drop" else ConnectionRefusedError
            with pytest.raises(expected):
                board_tcp(board, timeout=SILENCE if action == "drop" else PATIENCE)
            with board_udp(board) as client:
                client.settimeout(SILENCE if action == "drop" else PATIENCE)
                client.send(b"x")
                with pytest.raises(expected):
                    client.recv(10)
            assert network.dropped(udp=5684) == network.dropped(tcp=5683) == 1
            with board_udp(lab.board_network("b")) as other:
                _round_trip(server, other, b"y")

    in_namespaces(inside)


def test_allow_only_lets_one_port_through(in_namespaces: InNamespaces) -> None:
    def inside() -> None:
        with connected_lab("a", "b") as (lab, network), cloud_tcp() as listener, cloud_udp() as server:
            one, two = lab.board_network("a"), lab.board_network("b")
            network.allow_only(tcp=5683)
            network.allow_only(udp=5684, board=one.address)
            with board_udp(one) as client:
                _round_trip(server, client, b"allowed")
            with pytest.raises(TimeoutError):
                board_tcp(one, timeout=SILENCE)
            with board_tcp(two):
                listener.accept()[0].close()
            with board_udp(two) as client:
                client.send(b"x")
                assert _is_silent(server)
            assert network.dropped(udp=5684, board=two.address) == 1

    in_namespaces(inside)


def test_the_stricter_of_two_clients_wins_and_each_counts_its_own(in_namespaces: InNamespaces) -> None:
    def inside() -> None:
        with (
            running_lab() as (lab, service),
            cloud_udp() as server,
            Network.connect(service.path) as one,
            board_udp(lab.board_network("a")) as client,
        ):
            with Network.connect(service.path) as two:
                one.allow_only(udp=5684)
                two.block(udp=5684)
                client.send(b"x")
                assert _is_silent(server)
                assert (one.dropped(), two.dropped()) == (0, 1)
                two.clear()
                _round_trip(server, client, b"y")
                two.block(udp=5684)
            _until_one_client(service)
            _round_trip(server, client, b"z")

    in_namespaces(inside)


def _until_dropped(network: Network, board: str, count: int) -> None:
    """A board's first datagrams wait for the router's address (ARP): they are not there when ``send`` returns."""
    deadline = time.monotonic() + PATIENCE
    while network.dropped(udp=5684, board=board) < count and time.monotonic() < deadline:
        pass
    assert network.dropped(udp=5684, board=board) == count


def _until_one_client(service: NetworkService) -> None:
    assert service.wait_clients(1, PATIENCE)


def test_a_bench_host_rejects_and_counts_on_its_own_hooks(in_namespaces: InNamespaces) -> None:
    def inside() -> None:
        with running_lab() as (lab, service), cloud_tcp(), cloud_udp() as server:
            path = service.path.with_name("host")
            host = NetworkService.for_host(path, "10.77.0.0/16")
            board = lab.board_network("a")
            with contextlib.closing(host), Network.connect(path) as network, board_udp(board) as client:
                assert network.status()["kind"] == "host"
                _round_trip(server, client, b"before")
                assert network.passed(udp=5684) == 2
                network.block(tcp=5683, udp=5684, action="reject")
                with pytest.raises(ConnectionRefusedError):
                    board_tcp(board)
                client.send(b"x")
                with pytest.raises(ConnectionRefusedError):
                    client.recv(10)
                network.clear()
                network.block(action="reject")
                with pytest.raises(ConnectionRefusedError):
                    board_tcp(board)
                assert network.dropped(tcp=5683) == 2
                network.clear()
                network.block(udp=5684)
                with pytest.raises(OSError) as caught:
                    server.sendto(b"down", client.getsockname())
                assert caught.value.errno == errno.EPERM  # a host's own packet, dropped on the way out
            with board_udp(board) as client:
                _round_trip(server, client, b"after the service ended")

    in_namespaces(inside)


def test_every_address_as_a_board_needs_a_port_or_a_board(in_namespaces: InNamespaces) -> None:
    def inside() -> None:
        with running_lab() as (lab, service), cloud_udp():
            host = NetworkService.for_host(service.path.with_name("host"), "0.0.0.0/0")
            with contextlib.closing(host), Network.connect(host.path) as network:
                with pytest.raises(NetworkError, match="cut off the machine itself"):
                    network.block()
                with pytest.raises(NetworkError, match="cut off the machine itself"):
                    network.allow_only(udp=5684)
                network.block(udp=UDP[1], tcp=TCP[1])
                with board_udp(lab.board_network("a")) as client:
                    client.send(b"x")
                assert network.dropped(udp=UDP[1]) == 1

    in_namespaces(inside)
