"""Boards while strangers hold connections: 5,000 idle ones and 1,000 slow bodies against 1,024 descriptors.

20 boards (DTLS over UDP) publish four times a second and wait for each acknowledgement, in peace and then under
the flood; what the cloud closes is opened again, 200 connections a second. Goals: the slowest hundredth of the
acknowledgements below 100 ms, nothing on the cloud's standard error, the API answers within 5 s.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from benchmarks.cloudprocess import CloudProcess, cloud_process
from benchmarks.table import Table, options, verdict
from hil.cloud.config import CloudConfig
from hil.cloud.sync.facade import DeviceCloud
from tests.cloud.kits import KITS
from tests.cloud.scripted_board import ScriptedBoard

DESCRIPTORS = 1024
GOAL_P99 = 100.0  # ms
GOAL_ANSWER = 5.0  # seconds
_INTERVAL = 0.25  # seconds between two events of one board


def known_boards(state: Path, count: int) -> tuple[list[ScriptedBoard], bytes, bytes]:
    """Boards that a cloud on ``state`` knows, and its server keys."""
    boards = [ScriptedBoard(KITS["argon"], f"e00fce68{number:016x}") for number in range(count)]
    with DeviceCloud(CloudConfig(state_dir=state, tcp_port=0, udp_port=0, http_port=None)) as cloud:
        for board in boards:
            cloud.register(board.device_id, platform_id=board.kit.platform.id, public_key=board.public_key)
        return boards, cloud.server_keys.rsa_public_der, cloud.server_keys.ec_public_der


class Publisher:
    """One board that publishes from a thread of its own until it is told to stop."""

    def __init__(self, board: ScriptedBoard) -> None:
        self._board = board
        self._stop = threading.Event()
        self.waits: list[float] = []
        self.failures = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(_INTERVAL):
            position, began = len(self._board.inbox), time.monotonic()
            message = self._board.publish("bench", b"0123456789", acknowledged=False)
            try:
                self._board.wait_ack(message.mid, position)
            except AssertionError:
                self.failures += 1
            self.waits.append(time.monotonic() - began)

    def stop(self) -> list[float]:
        """End, and return the seconds that each acknowledgement took."""
        self._stop.set()
        self._thread.join()
        return self.waits


@contextmanager
def flood(cloud: CloudProcess, idle: int, bodies: int) -> Iterator[subprocess.Popen[str]]:
    """All connections opened once, in a process of its own; it keeps at it until the end of the block."""
    url = httpx.URL(cloud.url)
    what = [url.host, str(url.port), str(idle), str(bodies), cloud.token]
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.flood", *what],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "all opened\n"
        yield process
        process.stdin.close()
        process.stdout.read()


def measured(boards: Sequence[ScriptedBoard], seconds: float) -> tuple[list[float], int]:
    """Waits for acknowledgements in ms, sorted, while all publish for ``seconds``; how many never came."""
    publishers = [Publisher(board) for board in boards]
    threading.Event().wait(seconds)
    waits = sorted(wait * 1000 for publisher in publishers for wait in publisher.stop())
    return waits, sum(publisher.failures for publisher in publishers)


def answered(cloud: CloudProcess) -> float:
    """Seconds until the API has answered a request on a new connection."""
    began = time.monotonic()
    headers = {"Authorization": f"Bearer {cloud.token}"}
    while time.monotonic() - began < 10 * GOAL_ANSWER:
        try:
            answer = httpx.get(f"{cloud.url}/v1/devices", headers=headers, trust_env=False, timeout=30)
        except httpx.TransportError:
            continue
        assert answer.status_code == 200
        break
    return time.monotonic() - began


def _until_online(cloud: CloudProcess, count: int) -> None:
    with httpx.Client(base_url=cloud.url, params={"access_token": cloud.token}, trust_env=False) as client:
        while sum(device["online"] for device in client.get("/v1/devices").json()) < count:
            threading.Event().wait(0.1)


def run(idle: int, bodies: int, count: int, seconds: int) -> tuple[Table, bool]:
    """Measure everything. Returns the table, and whether all goals are met."""
    table = Table(
        f"{count} boards publish, {idle} idle connections and {bodies} slow bodies, {DESCRIPTORS} descriptors",
        ("", "events", "lost", "p50 ms", "p99 ms", "most ms", "files", "memory MB"),
    )
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder, "state")
        boards, rsa, ec = known_boards(state, count)
        with cloud_process(state, DESCRIPTORS, "--quiet") as cloud:
            for board in boards:
                board.dial(cloud.udp[0], cloud.tcp[1], cloud.udp[1], rsa, ec)
                board.power_on()
            _until_online(cloud, count)
            rows = {"in peace": measured(boards, seconds)}
            _add(table, "in peace", rows["in peace"], cloud)
            with flood(cloud, idle, bodies):
                until = answered(cloud)
                rows["under the flood"] = measured(boards, seconds)
                _add(table, "under the flood", rows["under the flood"], cloud)
                during = answered(cloud)
            for board in boards:
                board.power_off()
            said = cloud.complaints()
    waits, lost = rows["under the flood"]
    goals = {
        f"p99 below {GOAL_P99:g} ms": _at(waits, 0.99) < GOAL_P99 and not lost,
        f"the API answered {until:.2f} s and {during:.2f} s after asking": max(until, during) < GOAL_ANSWER,
        f"{len(said.splitlines())} lines on standard error": not said,
    }
    table.note = "\n".join(f"{what}: {verdict(met)}" for what, met in goals.items())
    return table, all(goals.values())


def _add(table: Table, name: str, row: tuple[list[float], int], cloud: CloudProcess) -> None:
    waits, lost = row
    times = [f"{_at(waits, part):.1f}" for part in (0.5, 0.99, 1.0)]
    table.add(name, len(waits), lost, *times, cloud.open_files(), f"{cloud.memory():.0f}")


def _at(waits: Sequence[float], part: float) -> float:
    return waits[min(int(len(waits) * part), len(waits) - 1)] if waits else 0.0


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; 1 when a goal is missed."""
    chosen = options(__doc__, argv, idle=5000, bodies=1000, boards=20, seconds=15)
    table, met = run(chosen["idle"], chosen["bodies"], chosen["boards"], chosen["seconds"])
    print(table)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
