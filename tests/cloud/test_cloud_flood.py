"""Issue 6, point 5: a cloud process with 128 descriptors, and strangers that want more of them.

The small form of ``benchmarks.idle_connections``.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from benchmarks.cloudprocess import CloudProcess, cloud_process
from benchmarks.idle_connections import flood, known_boards
from tests.cloud.scripted_board import PATIENCE, ScriptedBoard

DESCRIPTORS = 128
MEGABYTE = 1024 * 1024


@pytest.fixture
def cloud_and_board(tmp_path: Path) -> Iterator[tuple[CloudProcess, ScriptedBoard]]:
    """The process, and a UDP board that is online at it."""
    state = tmp_path / "state"
    (board,), rsa, ec = known_boards(state, 1)
    with cloud_process(state, DESCRIPTORS) as cloud:
        board.dial(cloud.udp[0], cloud.tcp[1], cloud.udp[1], rsa, ec)
        board.power_on()
        assert board.inbox.wait(lambda _message: True, position=0, within=PATIENCE), "the Hello had no answer"
        yield cloud, board
        board.power_off()


def get_user(cloud: CloudProcess) -> int:
    headers = {"Authorization": f"Bearer {cloud.token}"}
    return httpx.get(f"{cloud.url}/v1/user", headers=headers, trust_env=False, timeout=30).status_code


def test_idle_connections_stop_neither_boards_nor_api(
    cloud_and_board: tuple[CloudProcess, ScriptedBoard],
) -> None:
    cloud, board = cloud_and_board
    with flood(cloud, idle=200, bodies=40), contextlib.ExitStack() as strangers:
        for _ in range(200):
            strangers.enter_context(socket.create_connection(cloud.tcp, PATIENCE))
        for number in range(5):
            board.publish("still-here", str(number).encode())
        assert get_user(cloud) == 200
        # All strangers would need 440; half of the reserve of 32 is for those just being closed at two ports.
        assert cloud.open_files() <= DESCRIPTORS - 16
    assert cloud.complaints() == ""
    lines = [line for line in cloud.log().splitlines() if "limit" in line]
    assert len(lines) == 2  # one for each port


def test_bodies_without_a_token_cost_nothing(cloud_and_board: tuple[CloudProcess, ScriptedBoard]) -> None:
    cloud, _board = cloud_and_board
    assert get_user(cloud) == 200
    before = cloud.memory()
    url = httpx.URL(cloud.url)
    head = f"PUT /v1/devices/gate HTTP/1.1\r\nHost: x\r\nContent-Length: {9 * MEGABYTE}\r\n\r\n".encode()
    with contextlib.ExitStack() as strangers:
        for _ in range(12):
            stranger = socket.create_connection((url.host, url.port or 0), PATIENCE)
            strangers.enter_context(stranger)
            stranger.sendall(head + bytes(8 * MEGABYTE))
            assert stranger.recv(100).startswith(b"HTTP/1.1 401")
        assert get_user(cloud) == 200
        assert cloud.memory("VmHWM") - before < 20
    assert cloud.complaints() == ""
