from __future__ import annotations

import os
import socket

import pytest

from hil.errors import NetworkError, UsageError
from hil.netlab.namespaces import NetworkNamespace
from hil.netlab.topology import CLOUD_ADDRESS, Lab
from tests.netlab.conftest import InNamespaces
from tests.netlab.net_helpers import board_tcp, board_udp, cloud_tcp, cloud_udp


def _interfaces() -> set[str]:
    return {name for _, name in socket.if_nameindex()}


def test_boards_reach_the_cloud_from_their_own_addresses(in_namespaces: InNamespaces) -> None:
    def inside() -> None:
        with Lab() as lab:
            lab.create(["photon-1", "electron-1", "argon-1", "boron-1"])
            with cloud_udp() as server, cloud_tcp() as listener:
                for index, slot in enumerate(["photon-1", "electron-1", "argon-1", "boron-1"], start=1):
                    board = lab.board_network(slot)
                    assert board.address == f"10.77.{index}.2"
                    with board_udp(board) as client:
                        client.send(b"hello")
                        data, peer = server.recvfrom(100)
                        assert (data, peer[0]) == (b"hello", board.address)
                        server.sendto(b"answer", peer)
                        assert client.recv(100) == b"answer"
                    with board_tcp(board) as stream:
                        accepted, peer = listener.accept()
                        with accepted:
                            assert peer[0] == board.address
                            accepted.sendall(b"nonce")
                            assert stream.recv(5) == b"nonce"

    in_namespaces(inside)


def test_boards_reach_each_other_through_the_router(in_namespaces: InNamespaces) -> None:
    def inside() -> None:
        with Lab() as lab:
            lab.create(["a", "b"])
            one, two = lab.board_network("a"), lab.board_network("b")
            with two.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
                server.bind((two.address, 7000))
                server.settimeout(10)
                with board_udp(one, (two.address, 7000)) as client:
                    client.send(b"x")
                    assert server.recvfrom(10)[1][0] == one.address

    in_namespaces(inside)


def test_a_lab_leaves_nothing_and_can_be_made_again_at_once(in_namespaces: InNamespaces) -> None:
    def inside() -> None:
        before, descriptors = _interfaces(), len(os.listdir("/proc/self/fd"))
        lab = Lab()
        for _ in range(3):
            lab.create(["a", "b"])
            assert "hilcloud0" in _interfaces()
            lab.close()
            assert _interfaces() == before
        lab.close()
        assert len(os.listdir("/proc/self/fd")) == descriptors

    in_namespaces(inside)


def test_a_failed_creation_leaves_nothing(in_namespaces: InNamespaces) -> None:
    def inside() -> None:
        NetworkNamespace.current().ip_batch(["link add hilcloud0 type veth peer name other0"])
        descriptors = len(os.listdir("/proc/self/fd"))
        lab = Lab()
        with pytest.raises(NetworkError, match="File exists"):
            lab.create(["a"])
        with pytest.raises(NetworkError, match="not up"):
            _ = lab.router
        assert len(os.listdir("/proc/self/fd")) <= descriptors
        assert {"hilcloud0", "other0"} <= _interfaces()  # somebody else's link is left alone

    in_namespaces(inside)


def test_misuse_is_named(in_namespaces: InNamespaces) -> None:
    def inside() -> None:
        with Lab() as lab:
            with pytest.raises(UsageError, match="wrong board slots"):
                lab.create(["a", "a"])
            lab.create(["a"])
            with pytest.raises(UsageError, match="exists already"):
                lab.create(["b"])
            with pytest.raises(UsageError, match="no slot 'b'"):
                lab.board_network("b")

    in_namespaces(inside)


def test_names_and_literal_addresses_resolve_others_do_not(in_namespaces: InNamespaces) -> None:
    def inside() -> None:
        with Lab({"cloud.test": CLOUD_ADDRESS}) as lab:
            lab.create(["a"])
            board = lab.board_network("a")
            assert board.resolve("Cloud.Test.") == CLOUD_ADDRESS
            assert board.resolve("198.18.0.9") == "198.18.0.9"
            assert board.resolve("elsewhere.test") is None
            assert board.resolve("300.1.1.1") is None

    in_namespaces(inside)


def test_the_callers_thread_stays_in_its_namespace_and_sees_errors_of_the_inside(
    in_namespaces: InNamespaces,
) -> None:
    def inside() -> None:
        before = os.readlink("/proc/thread-self/ns/net")
        namespace = NetworkNamespace.create()
        assert namespace.run(lambda: os.readlink("/proc/thread-self/ns/net")) != before
        with pytest.raises(ZeroDivisionError):
            namespace.run(lambda: 1 // 0)
        with pytest.raises(NetworkError, match="Cannot find device"):
            namespace.ip_batch(["link set nowhere up"])
        with pytest.raises(NetworkError, match="not installed"):
            namespace.command(["no-such-program-here"])
        assert os.readlink("/proc/thread-self/ns/net") == before
        namespace.close()
        namespace.close()

    in_namespaces(inside)
