"""The base directory of a running rack: one each, so that racks do not know of each other.

It holds the socket of the rack's supervisor and the mount point of its private trees. A directory whose rack has died
is swept away by the next start.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import struct
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

SOCKET_NAME = "supervisor.sock"
_PREFIX = "hil-rack"
_STARTING_SECONDS = 300.0  # no rack takes longer until it has its socket


@dataclass(frozen=True, slots=True)
class RunningRack:
    """A rack of this user. ``since`` is the time its directory was made (Unix seconds)."""

    base: Path
    pid: int
    since: float


def create() -> Path:
    """A fresh base directory, mode 0700, never below /run (the rack lays its own /run over that)."""
    return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}-{os.getuid()}-", dir=_parent()))


def remove(base: Path) -> None:
    """Takes a dead rack's directory away."""
    shutil.rmtree(base, ignore_errors=True)


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
    """Removes directories of racks that were killed; one without a socket may be starting and is left a while."""
    for base in _parent().glob(f"{_PREFIX}-{os.getuid()}-*"):
        try:
            connection, _ = supervisor(base)
        except ConnectionRefusedError:
            remove(base)
        except FileNotFoundError:
            _remove_stale(base)
        except OSError:
            continue
        else:
            connection.close()


def _remove_stale(base: Path) -> None:
    """A rack killed before it had its socket."""
    with contextlib.suppress(FileNotFoundError):
        if time.time() - base.stat().st_mtime > _STARTING_SECONDS:
            remove(base)


def _parent() -> Path:
    directory = Path(tempfile.gettempdir()).resolve()
    return Path("/tmp") if directory.is_relative_to("/run") else directory
