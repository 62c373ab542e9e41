"""A company of scripted boards for benchmarks that run a whole cloud, and what is read about that cloud's process."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from hil.cloud.state.journal import Journal
from hil.wire import messages
from tests.cloud.kits import KITS
from tests.cloud.scripted_board import ScriptedBoard

Dial = Callable[[ScriptedBoard], None]


def company(count: int, dial: Dial, *kits: str) -> list[ScriptedBoard]:
    """``count`` boards, of each of ``kits`` in turn, that ``dial`` has told of the cloud. Not switched on yet."""
    boards = []
    for number in range(count):
        board = ScriptedBoard(KITS[kits[number % len(kits)]], f"50a4{number:020x}")
        board.inbox = Journal(kept=100)  # what a board remembers must not look like the cloud's
        dial(board)
        boards.append(board)
    return boards


def publish(board: ScriptedBoard, name: str, data: bytes, *, wait: bool) -> None:
    """One event, with ``wait`` until it is acknowledged, which over TCP no event is."""
    message = messages.event(board.next_mid(), name, data, confirmable=not board.uses_tcp)
    if wait and not board.uses_tcp:
        board.ask(message)
    else:
        board.send(message)


def resident(process: int | None = None) -> int:
    """Bytes of memory that a process has resident, this one unless told."""
    status = Path(f"/proc/{process or os.getpid()}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def cpu_seconds(process: int) -> float:
    """Processor time that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def disk_bytes(directory: Path) -> int:
    """Bytes of all files in a directory."""
    return sum(file.stat().st_size for file in directory.iterdir() if file.is_file())
