"""Does a cloud under steady load stay as large as it is? Its resident memory and its disk, minute by minute.

The cloud is ``hil cloud`` in a process of its own; the boards are scripted, two thirds over DTLS, the rest over TCP.
All of them publish in turn, one is called every second, and one event stream is read to the end. Goal (issue 6):
with 50 boards and 95 events a second over 30 minutes, memory flat within 10 MB after the first five.
"""

from __future__ import annotations

import json
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.company import company, cpu_seconds, disk_bytes, publish, resident
from benchmarks.table import options, verdict
from tests.cloud.scripted_board import ScriptedBoard

#: It takes half an hour: only when it is asked for by name.
ON_REQUEST = True
SETTLED = 5  # minutes after which memory has to be flat
GOAL = 10 * 1024 * 1024  # bytes that it may still grow by
_NAME = "soak"
_DATA = b"21.5 degrees, and all is well"
_MB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Minute:
    """How the cloud is after so many minutes. Sizes in bytes, ``busy`` as a share of one core."""

    number: int
    events: int
    resident: int
    disk: int
    busy: float


def growth(minutes: Sequence[Minute], settled: int = SETTLED) -> int | None:
    """Bytes that memory grew by once it had settled; ``None`` when the run was too short to tell."""
    late = [minute.resident for minute in minutes if minute.number >= settled]
    return max(late) - late[0] if len(late) > 1 else None


class Soak:
    """A cloud on ``state`` with ``devices`` boards that publish ``rate`` events a second together."""

    def __init__(self, state: Path, devices: int, rate: float) -> None:
        self.sent = 0
        self._state = state
        self._rate = rate
        command = [sys.executable, "-m", "hil.cli.main", "cloud", "--state", str(state), "--json", "--quiet"]
        command += ["--tcp-port", "0", "--udp-port", "0", "--http-port", "0", "--trust-first-use"]
        self._cloud = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._cloud.stdout is not None
        self._facts: dict[str, Any] = json.loads(self._cloud.stdout.readline())
        self._stream = self._request("GET", "/v1/devices/events")
        threading.Thread(target=self._read_stream, daemon=True).start()
        self._boards = company(devices, self._dial, "argon", "boron", "photon")
        for board in self._boards:
            board.power_on()
        self._wait_online()

    def _dial(self, board: ScriptedBoard) -> None:
        (host, tcp), (_, udp) = (self._facts[kind].rsplit(":", 1) for kind in ("tcp", "udp"))
        rsa, ec = ((self._state / f"server_{kind}.pub.der").read_bytes() for kind in ("rsa", "ec"))
        board.dial(host, int(tcp), int(udp), rsa, ec)

    def _request(self, method: str, path: str, body: bytes = b"") -> socket.socket:
        """A request whose answer nobody needs to understand."""
        url = urlsplit(self._facts["url"])
        connection = socket.create_connection((url.hostname, url.port))
        head = f"{method} {path} HTTP/1.1\r\nHost: soak\r\nAuthorization: Bearer {self._facts['token']}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        return connection

    def _read_stream(self) -> None:
        while self._stream.recv(65536):
            pass

    def _wait_online(self) -> None:
        for board in self._boards:
            if board.inbox.wait(lambda _message: True, within=30.0) is None:
                raise SystemExit(f"board {board.device_id} does not get online")

    def minute(self, number: int, began: float) -> Minute:
        """Keep the load up until ``number`` minutes after ``began`` (monotonic), then look."""
        used, looked = cpu_seconds(self._cloud.pid), time.monotonic()
        while (now := time.monotonic()) < began + number * 60.0:
            due = int((now - began) * self._rate)
            while self.sent < due:
                publish(self._boards[self.sent % len(self._boards)], _NAME, _DATA, wait=False)
                self.sent += 1
                if self.sent % max(1, round(self._rate)) == 0:
                    self._call(self._boards[self.sent // round(self._rate) % len(self._boards)])
            time.sleep(1.0 / self._rate)
        busy = (cpu_seconds(self._cloud.pid) - used) / (time.monotonic() - looked)
        return Minute(number, self.sent, resident(self._cloud.pid), disk_bytes(self._state), busy)

    def _call(self, board: ScriptedBoard) -> None:
        with closing(
            self._request("POST", f"/v1/devices/{board.device_id}/led", b'{"arg": "on"}')
        ) as connection:
            connection.recv(4096)

    def stop(self) -> int:
        """End the cloud as Ctrl-C does. Returns how many of the events it has stored."""
        for board in self._boards:
            self._call(board)  # its answer comes after everything that the board has said
        for board in self._boards:
            board.power_off()
        self._cloud.send_signal(signal.SIGINT)
        self._cloud.communicate(timeout=30.0)
        with closing(sqlite3.connect(self._state / "cloud.sqlite")) as opened:
            (count,) = opened.execute("SELECT COUNT(*) FROM events WHERE name=?", (_NAME,)).fetchone()
        return int(count)


@contextmanager
def _state() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="hil-soak-") as directory:
        yield Path(directory)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 1 when memory has grown by more than the goal, or an event is missing."""
    asked = options(__doc__, argv, minutes=30, devices=50, rate=95)
    print(f"{asked['devices']} devices, {asked['rate']} events a second together", flush=True)
    minutes: list[Minute] = []
    with _state() as state:
        soak = Soak(state, asked["devices"], asked["rate"])
        began = time.monotonic()
        for number in range(1, asked["minutes"] + 1):
            minutes.append(soak.minute(number, began))
            print(_line(minutes[-1]), flush=True)
        stored = soak.stop()
    grown = growth(minutes)
    lost = soak.sent - stored
    flat = grown is None or grown <= GOAL
    shown = "too short to tell" if grown is None else f"{grown / _MB:+.1f} MB"
    print(f"memory after minute {SETTLED}: {shown}, wanted at most {GOAL / _MB:+.0f} MB: {verdict(flat)}")
    print(f"events sent {soak.sent}, stored {stored}: {verdict(lost == 0)}")
    return int(not flat or lost != 0)


def _line(minute: Minute) -> str:
    return (
        f"minute {minute.number:3}  {minute.events:7} events  memory {minute.resident / _MB:6.1f} MB"
        f"  disk {minute.disk / _MB:6.1f} MB  {minute.busy:4.0%} of a core"
    )


if __name__ == "__main__":
    sys.exit(main())
