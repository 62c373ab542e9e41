"""Ctrl-C at any moment: nothing but a goodbye, whatever is connected, called or streamed just then."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from hil.device.keys import generate_device_key
from tests.cloud.kits import KITS
from tests.cloud.scripted_board import PATIENCE, ScriptedBoard

REPOSITORY = Path(__file__).parents[2]
TIMES = 20
LINES = 12  # of the log; the boards below cause more
KEYS = {name: generate_device_key(KITS[name].platform) for name in ("photon", "argon")}


@contextlib.contextmanager
def running(state: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    command = [
        sys.executable,
        "-m",
        "hil.cli.main",
        "cloud",
        "--state",
        str(state),
    ]
    command += ["--tcp-port", "0", "--udp-port", "0", "--http-port", "0", "--trust-first-use", *options]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def started(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What the first line of a cloud that speaks JSON says."""
    assert process.stdout is not None
    first: dict[str, Any] = json.loads(process.stdout.readline())
    assert first["kind"] == "started", first
    return first


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=PATIENCE * 3)
    return process.returncode, out, err


class Company:
    """Two boards, a stream that is read, one that is not, and calls that wait for an answer."""

    def __init__(self, cloud: dict[str, Any], state: Path) -> None:
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.boards = [ScriptedBoard(KITS[name]) for name in KEYS]
        url = httpx.URL(cloud["url"])
        head = f"Authorization: Bearer {cloud['token']}\r\nHost: hil\r\n"
        for _ in range(2):
            stream = socket.create_connection((url.host, url.port))
            stream.sendall(f"GET /v1/devices/events HTTP/1.1\r\n{head}\r\n".encode())
            self._sockets.append(stream)
        host, tcp = cloud["tcp"].rsplit(":", 1)
        _, udp = cloud["udp"].rsplit(":", 1)
        keys = [(state / f"server_{kind}.pub.der").read_bytes() for kind in ("rsa", "ec")]
        for board in self.boards:
            board.key = KEYS[board.kit.name]
            board.silent_functions.add("led")
            board.dial(host, int(tcp), int(udp), *keys)
            board.power_on()
            call = socket.create_connection((url.host, url.port))
            call.sendall(f"POST /v1/devices/{board.device_id}/led HTTP/1.1\r\n{head}".encode())
            call.sendall(b"Content-Type: application/json\r\nContent-Length: 13\r\n\r\n" + b'{"arg": "on"}')
            self._sockets.append(call)

    def close(self) -> None:
        for sock in self._sockets:
            sock.close()
        for board in self.boards:
            board.power_off()


@pytest.mark.parametrize("seed", range(TIMES))
def test_ctrl_c_at_any_moment_leaves_nothing_but_a_goodbye(
    seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    chance = random.Random(seed)
    state = tmp_path_factory.getbasetemp() / "interrupted"  # its server keys are made once
    with running(state, "--json") as process:
        company = Company(started(process), state)
        assert process.stdout is not None
        for _ in range(chance.randrange(LINES)):
            json.loads(process.stdout.readline())
        for _ in range(chance.choice((1, 1, 3))):
            process.send_signal(chance.choice((signal.SIGINT, signal.SIGINT, signal.SIGTERM)))
        status, out, err = ended(process)
        company.close()
    assert (status, err) == (0, "")
    assert json.loads(out.splitlines()[-1]) == {"kind": "stopped"}
    assert not (state / "running.json").exists()


def test_ctrl_c_while_it_starts_is_no_half_start(tmp_path: Path) -> None:
    with running(tmp_path) as process:
        # The store's directory is locked: the cloud is being put together.
        while not (tmp_path / "cloud.sqlite").exists():
            assert process.poll() is None
            os.sched_yield()
        process.send_signal(signal.SIGINT)
        status, out, err = ended(process)
    assert (status, err) == (0, "")
    assert out.endswith(f"\nthe cloud has stopped; its state stays in {tmp_path}\n")


def test_a_reader_that_goes_away_ends_it_without_a_traceback(tmp_path: Path) -> None:
    with running(tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("TCP boards")
        process.stdout.close()
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert process.stderr.read() == ""
        assert process.wait(PATIENCE) == 1
