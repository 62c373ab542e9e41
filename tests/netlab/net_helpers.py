"""Sockets of boards and cloud, and a whole lab with its service, for the tests of this room."""

from __future__ import annotations

import contextlib
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hil.netlab.client import Network
from hil.netlab.service import NetworkService
from hil.netlab.topology import CLOUD_ADDRESS, BoardNetwork, Lab

PATIENCE = 10.0  # for what must happen
SILENCE = 0.3  # for what must not
TCP = (CLOUD_ADDRESS, 5683)
UDP = (CLOUD_ADDRESS, 5684)


@contextlib.contextmanager
def running_lab(*slots: str) -> Iterator[tuple[Lab, NetworkService]]:
    """A lab with boards in ``slots`` (default: one, "a") and its service."""
    with tempfile.TemporaryDirectory() as directory, Lab({"cloud.test": CLOUD_ADDRESS}) as lab:
        lab.create(slots or ("a",))
        service = NetworkService.for_lab(lab, Path(directory) / "network")
        try:
            yield lab, service
        finally:
            service.close()


@contextlib.contextmanager
def connected_lab(*slots: str) -> Iterator[tuple[Lab, Network]]:
    """The same with one client."""
    with running_lab(*slots) as (lab, service), Network.connect(service.path) as network:
        yield lab, network


def cloud_udp(address: tuple[str, int] = UDP) -> socket.socket:
    """A bound socket of the cloud."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(address)
    server.settimeout(PATIENCE)
    return server


def cloud_tcp(address: tuple[str, int] = TCP) -> socket.socket:
    """A listening socket of the cloud."""
    server = socket.create_server(address)
    server.settimeout(PATIENCE)
    return server


def board_udp(board: BoardNetwork, address: tuple[str, int] = UDP) -> socket.socket:
    """A board's socket connected to the cloud."""
    client = board.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(PATIENCE)
    client.connect(address)
    return client


def board_tcp(
    board: BoardNetwork, address: tuple[str, int] = TCP, timeout: float = PATIENCE
) -> socket.socket:
    """A board's connection to the cloud."""
    client = board.socket(socket.AF_INET, socket.SOCK_STREAM)
    client.settimeout(timeout)
    try:
        client.connect(address)
    except OSError:
        client.close()
        raise
    return client
