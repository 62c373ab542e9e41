"""How many connections this process can bear: its file descriptors, and who may have which part of them.

Every connection is a descriptor, and so are the database's files and the socket that all UDP boards share. A
process without any left can do nothing for anybody, so strangers get what remains after a reserve.
"""

from __future__ import annotations

import contextlib
import os
import resource
from dataclasses import dataclass

from hil.cloud.config import CloudConfig

# A program that this one starts inherits the limit, and some close every number up to it, one by one.
WANTED = 65_536
_RESERVE = 64  # database, keys, sockets to listen on, files of a caller in the same process
_RESERVED_PART = 4  # the reserve is never more than the limit divided by this
_FEWEST = 8  # connections of each kind, however few descriptors there are


@dataclass(frozen=True, slots=True)
class Shares:
    """Connections that may be open at once: ``http`` to the API, ``boards`` to the TCP gateway."""

    http: int
    boards: int


def raise_limit() -> int:
    """Raise this process's limit of open files to what it may have, at most :data:`WANTED`. Returns the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    wanted = WANTED if hard == unlimited else min(hard, WANTED)
    if soft == unlimited or soft >= wanted:
        return WANTED if soft == unlimited else soft
    # Refused where a sandbox forbids it: the limit stays as it is then.
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def shares(config: CloudConfig) -> Shares:
    """Half of the free descriptors each for the API and for boards, at most what ``config`` allows."""
    return divide(raise_limit(), _in_use(), config)


def divide(limit: int, in_use: int, config: CloudConfig) -> Shares:
    """The shares of a process that may open ``limit`` files and has ``in_use`` of them."""
    free = limit - in_use - min(_RESERVE, limit // _RESERVED_PART)
    part = max(free // 2, _FEWEST)
    return Shares(min(part, config.max_http_connections), min(part, config.max_tcp_connections))


def _in_use() -> int:
    try:
        return len(os.listdir("/dev/fd"))
    except OSError:
        return _RESERVE
