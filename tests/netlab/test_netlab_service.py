from __future__ import annotations

import json
import os
import signal
import socket
import stat
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hil.errors import NetworkError
from hil.netlab import pcap
from hil.netlab.client import Network
from hil.netlab.requests import MAX_LINE
from hil.netlab.service import NetworkService
from tests.netlab.conftest import InNamespaces
from tests.netlab.net_helpers import PATIENCE, board_udp, cloud_udp, connected_lab, running_lab


def _fork_blocking_client(service: NetworkService) -> tuple[int, int]:
    """A process that blocks UDP 5684, captures, and then waits for its death; its pid and a pipe from it."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        network = Network.connect(service.path)
        network.block(udp=5684)
        network.capture_start()
        os.write(write_end, b"blocked")
        while True:
            signal.pause()
    os.close(write_end)
    return pid, read_end


def test_a_killed_client_leaves_nothing(in_namespaces: InNamespaces) -> None:
    def inside() -> None:
        with running_lab() as (lab, service), cloud_udp() as server:
            before = lab.router.command(["nft", "list", "table", "inet", "hil"])
            pid, pipe = _fork_blocking_client(service)
            assert os.read(pipe, 100) == b"blocked"
            assert "5684 update @lease1_stopped_up" in lab.router.command(
                ["nft", "list", "table", "inet", "hil"]
            )
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            assert service.wait_clients(0, PATIENCE)
            assert lab.router.command(["nft", "list", "table", "inet", "hil"]) == before
            assert "capture" not in {thread.name for thread in threading.enumerate()}
            with board_udp(lab.board_network("a")) as client:
                client.send(b"free")
                assert server.recv(100) == b"free"

    in_namespaces(inside)


def test_the_table_goes_with_the_service(in_namespaces: InNamespaces) -> None:
    def inside() -> None:
        with running_lab() as (lab, service):
            with Network.connect(service.path) as network:
                network.block(udp=5684)
                service.close()
                assert lab.router.command(["nft", "list", "ruleset"]) == ""
                assert not service.path.exists()
                with pytest.raises(NetworkError, match="is gone"):
                    network.clear()
            service.close()

    in_namespaces(inside)


def _is_socket(path: str) -> bool:
    return os.readlink(path).startswith("socket:")


def test_a_program_started_by_the_rack_does_not_inherit_the_firewall(in_namespaces: InNamespaces) -> None:
    def inside() -> None:
        with running_lab():
            links = {fd: f"/proc/self/fd/{fd}" for fd in map(int, os.listdir("/proc/self/fd"))}
            sockets = [fd for fd, path in links.items() if os.path.lexists(path) and _is_socket(path)]
            assert sockets
            assert not any(os.get_inheritable(fd) for fd in sockets)

    in_namespaces(inside)


def test_the_socket_is_its_owners_alone(in_namespaces: InNamespaces) -> None:
    def inside() -> None:
        with running_lab() as (_, service):
            mode = service.path.stat()
            assert stat.S_IMODE(mode.st_mode) == 0o600
            assert mode.st_uid == os.getuid()

    in_namespaces(inside)


def test_a_second_service_is_refused_and_a_dead_ones_socket_replaced(in_namespaces: InNamespaces) -> None:
    def inside() -> None:
        with running_lab() as (lab, service):
            with pytest.raises(NetworkError):
                NetworkService.for_lab(lab, service.path)
            with pytest.raises(NetworkError, match="another network service answers"):
                NetworkService.for_host(service.path, "10.77.0.0/16")
            dead = service.path.with_name("dead")
            with socket.socket(socket.AF_UNIX) as left_behind:
                left_behind.bind(str(dead))
            successor = NetworkService.for_host(dead, "10.77.0.0/16")
            with Network.connect(dead) as network:
                assert network.status()["boards"] == "10.77.0.0/16"
            successor.close()
            with pytest.raises(NetworkError, match="too long"):
                NetworkService.for_host(service.path.with_name("x" * 120), "10.77.0.0/16")

    in_namespaces(inside)


def test_no_service_says_how_to_start_one() -> None:
    with pytest.raises(NetworkError, match="hil rack run"):
        Network.connect("/nonexistent/network")


def test_refusals_reach_the_client_and_change_nothing(in_namespaces: InNamespaces) -> None:
    def inside() -> None:
        with connected_lab() as (lab, network):
            network.block(udp=5684)
            with pytest.raises(NetworkError, match=r"expected: one in 10\.77\.0\.0/16"):
                network.block(udp=5684, board="192.0.2.1")
            with pytest.raises(NetworkError, match="wrong udp"):
                network.block(udp=70000)
            with pytest.raises(NetworkError, match="drop or reject"):
                network.block(udp=5684, action="explode")
            with pytest.raises(NetworkError, match="without a port"):
                network.allow_only()
            with pytest.raises(NetworkError, match="no capture is running"):
                network.capture_stop()
            status = network.status()
            assert isinstance(status.pop("time"), float)
            assert status == {
                "kind": "lab",
                "boards": "10.77.0.0/16",
                "clients": 1,
                "rules": 1,
                "capturing": False,
            }
            with board_udp(lab.board_network("a")) as client:
                client.send(b"x")
            assert network.dropped(udp=5684) == 1

    in_namespaces(inside)


def test_one_client_object_serves_many_threads(in_namespaces: InNamespaces) -> None:
    def inside() -> None:
        with connected_lab() as (_, network):
            failures: list[Exception] = []

            def work(port: int) -> None:
                try:
                    for _ in range(10):
                        network.block(udp=port)
                        network.capture_start() if port == 1 else network.counters()
                        if port == 1:
                            pcap.read(network.capture_stop())
                except Exception as error:
                    failures.append(error)

            threads = [threading.Thread(target=work, args=(port,)) for port in range(1, 5)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert not failures
            assert network.status()["rules"] == 4

    in_namespaces(inside)


def test_garbage_lines_are_answered_and_never_end_the_service(in_namespaces: InNamespaces) -> None:
    def inside() -> None:
        with running_lab() as (_, service), socket.socket(socket.AF_UNIX) as raw:
            raw.settimeout(PATIENCE)
            raw.connect(str(service.path))
            answers = raw.makefile("rb")

            @settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
            @given(st.binary(max_size=200).filter(lambda line: b"\n" not in line))
            def garbage(line: bytes) -> None:
                raw.sendall(line + b"\n")
                answer = json.loads(answers.readline())
                assert answer["ok"] is False
                assert answer["what"]

            garbage()
            raw.sendall(b"x" * (MAX_LINE + 10))
            assert "too long" in json.loads(answers.readline())["what"]
            assert service.wait_clients(0, PATIENCE)
            answers.close()
            with Network.connect(service.path) as network:
                assert network.status()["clients"] == 1

    in_namespaces(inside)


def test_a_capture_holds_what_the_boards_links_carried_once(in_namespaces: InNamespaces) -> None:
    def inside() -> None:
        with connected_lab("a", "b") as (lab, network), cloud_udp() as server:
            with (
                board_udp(lab.board_network("a")) as client,
                board_udp(lab.board_network("b"), ("198.18.0.2", 9)) as other,
            ):
                client.send(b"before the capture")
                server.recv(100)
                network.capture_start()
                with pytest.raises(NetworkError, match="running already"):
                    network.capture_start()
                sizes = [1, 20, 300, 1400]
                for size in sizes:
                    client.send(bytes(size))
                    _, peer = server.recvfrom(2000)
                server.sendto(b"down", peer)
                client.recv(100)
                network.block(udp=5684)
                client.send(b"stopped")
                other.send(b"elsewhere")
                data = network.capture_stop()
            assert network.capture_lost == 0
            assert pcap.udp_payload_sizes(data, 5684) == [*sizes, 4, 7]
            assert pcap.packets_per_port(data)["udp", 9] == 1
            frames = pcap.read(data)
            # Two processors stamp frames of two links: neighbours may stand the other way round by microseconds.
            times = [frame.time_ns for frame in frames]
            assert max(times) - min(times) < 60e9
            assert min(times) > 1_600_000_000 * 10**9

    in_namespaces(inside)


def test_a_capture_keeps_within_its_bounds(in_namespaces: InNamespaces) -> None:
    def inside() -> None:
        with connected_lab() as (lab, network), board_udp(lab.board_network("a")) as client:
            network.block(udp=5684)
            network.capture_start(snaplen=60, limit=24 + 5 * (16 + 60))
            for _ in range(12):
                client.send(bytes(1000))
            data = network.capture_stop()
            udp = list(pcap.segments(pcap.read(data)))
            assert len(data) <= 24 + 5 * (16 + 60)
            assert {(len(s.payload), s.payload_length) for s in udp} == {(60 - 14 - 20 - 8, 1000)}
            assert len(pcap.read(data)) + network.capture_lost >= 12

    in_namespaces(inside)


def test_a_capture_shows_the_refusal_that_a_board_receives(in_namespaces: InNamespaces) -> None:
    def inside() -> None:
        with connected_lab() as (lab, network), board_udp(lab.board_network("a")) as client:
            network.block(udp=5684, action="reject")
            network.capture_start()
            client.send(b"x")
            with pytest.raises(ConnectionRefusedError):
                client.recv(10)
            frames = [frame.data for frame in pcap.read(network.capture_stop())]
            icmp = [data[14 + 20 :] for data in frames if data[12:14] == b"\x08\x00" and data[14 + 9] == 1]
            assert [message[:2] for message in icmp] == [b"\x03\x03"]  # destination unreachable: port

    in_namespaces(inside)
