"""Ports and addresses of this machine, and who has a port: the process that ``ss -lnp`` would name.

Facts: proc_pid_net(5) and proc_pid_fd(5). Only processes of the caller can be looked into; root sees all.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import pwd
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Protocol = Literal["TCP", "UDP"]
_PROC = Path("/proc")
_WAITING = {
    "TCP": "0A",
    "UDP": "07",
}  # states of sockets that listen, and of those that are connected to nobody
_LONGEST = 80  # characters of a command line
_LOCAL = re.compile(r"\|-- (\S+)\n\s+/32 host LOCAL")


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that listens, or as much of it as this user may know: then ``pid`` is 0 and ``command`` empty."""

    user: str
    pid: int = 0
    command: str = ""

    def __str__(self) -> str:
        if not self.pid:
            return f"a process of user {self.user}"
        return f"{self.command} (process {self.pid} of user {self.user})"


def holder(protocol: Protocol, port: int, proc: Path = _PROC) -> Holder | None:
    """Who listens on ``port`` in this network namespace, ``None`` if nobody is seen to. ``proc`` is for tests."""
    for inode, uid in _sockets(protocol, port, proc):
        process = _owner_of(inode, proc)
        if process is not None:
            return Holder(_user(uid), int(process.name), _command(process))
        return Holder(_user(uid))
    return None


def taken(protocol: Protocol, port: int) -> str:
    """Who has ``port``, in words."""
    found = holder(protocol, port)
    if found is not None and found.pid:
        return str(found)
    look = f"`sudo ss -lnp{protocol[0].lower()} 'sport = :{port}'` names it"
    return f"{found or 'a process that cannot be seen from here'}; {look}"


def own_addresses(proc: Path = _PROC) -> list[str]:
    """The IPv4 addresses of this machine, in this network namespace."""
    try:
        table = (proc / "net/fib_trie").read_text()
    except OSError:
        return []
    return sorted(set(_LOCAL.findall(table)), key=ipaddress.IPv4Address)


def is_ours(host: str) -> bool:
    """Whether ``host`` is an address of this machine, in this network namespace: one that sockets can be bound to."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError as error:
            return error.errno != errno.EADDRNOTAVAIL and not isinstance(error, socket.gaierror)
    return True


def _sockets(protocol: Protocol, port: int, proc: Path) -> Iterator[tuple[str, int]]:
    """Inode and user id of each socket that listens on ``port``."""
    for version in ("", "6"):
        try:
            rows = (proc / "net" / (protocol.lower() + version)).read_text().splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            fields = row.split()
            if fields[3] == _WAITING[protocol] and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9], int(fields[7])


def _owner_of(inode: str, proc: Path) -> Path | None:
    link = f"socket:[{inode}]"
    for process in proc.glob("[0-9]*"):
        try:
            if any(os.readlink(each) == link for each in (process / "fd").iterdir()):
                return process
        except OSError:
            continue  # another user's, or ended meanwhile
    return None


def _command(process: Path) -> str:
    try:
        words = (process / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except OSError:
        return ""
    text = " ".join(word.decode(errors="replace") for word in words)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
