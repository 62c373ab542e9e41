"""The base directory of a running rack: one each, so that racks do not know of each other.

It holds the socket of the rack's supervisor and the mount point of its private trees. Whoever makes it holds a lock on
it that the kernel gives up with the last process of the rack, however that ends: the next start sweeps directories that
nobody holds, never one of a rack that is starting or ending at the moment.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hil import held
from hil.held import HeldFolder

SOCKET_NAME = "supervisor.sock"
_PREFIX = "hil-rack"


@dataclass(frozen=True, slots=True)
class RunningRack:
    """A rack of this user. ``since`` is the time its directory was made (Unix seconds)."""

    base: Path
    pid: int
    since: float


Base = HeldFolder


def create() -> Base:
    """A fresh base directory, mode 0700, held; never below /run (the rack lays its own /run over that)."""
    return held.create(f"{_PREFIX}-{os.getuid()}-", _parent())


def supervisor(base: Path) -> tuple[socket.socket, int]:
    """A connection to the rack at ``base`` and its pid. Raises ``OSError`` when it is not running."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(str(base / SOCKET_NAME))
    except OSError:
        connection.close()
        raise
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    pid, _, _ = struct.unpack("iII", credentials)
    return connection, pid


def running() -> list[RunningRack]:
    """This user's racks, oldest first."""
    found = []
    for base in _parent().glob(f"{_PREFIX}-{os.getuid()}-*"):
        with contextlib.suppress(OSError):
            connection, pid = supervisor(base)
            connection.close()
            found.append(RunningRack(base, pid, base.stat().st_mtime))
    return sorted(found, key=lambda rack: rack.since)


def sweep() -> None:
    """Remove directories of racks that were killed: nobody holds them."""
    held.sweep(f"{_PREFIX}-{os.getuid()}-", _parent())


def _parent() -> Path:
    directory = Path(tempfile.gettempdir()).resolve()
    return Path("/tmp") if directory.is_relative_to("/run") else directory
