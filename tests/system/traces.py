"""What processes of a run leave on a machine: each other, namespaces, mounts, rules, links."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.system import racks

MARK = "RUN_MARK"


def marked(mark: str, variable: str = MARK) -> set[int]:
    """The processes with this mark in their environment, wherever they went in the tree."""
    line = f"{variable}={mark}".encode()
    return {pid for pid in processes() if line in read(Path("/proc", str(pid), "environ")).split(b"\0")}


def processes() -> set[int]:
    return {int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()}


def read(path: Path) -> bytes:
    """Content of a file below /proc, of a process that may have ended."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def command_line(pid: int) -> bytes:
    return read(Path("/proc", str(pid), "cmdline"))


def spaces(pid: int) -> set[str]:
    """The network, mount and user namespaces that a process is in or keeps a descriptor of."""
    process = Path("/proc", str(pid))
    names = set()
    with contextlib.suppress(OSError):  # it may end meanwhile, or be another user's
        for link in [*(process / "ns").iterdir(), *(process / "fd").iterdir()]:
            with contextlib.suppress(FileNotFoundError):
                names.add(os.readlink(link))
    return {name for name in names if name.startswith(("net:[", "mnt:[", "user:["))}


def host_rules() -> tuple[int, str]:
    """The firewall of the namespace that the tests run in; an ordinary user may not see it, nor change it."""
    nft = shutil.which("nft", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")  # an ordinary PATH has no sbin
    assert nft, "nft is needed: scripts/setup test installs it"
    listed = subprocess.run([nft, "list", "ruleset"], capture_output=True, text=True, check=False)
    return listed.returncode, listed.stdout


def host() -> dict[str, object]:
    """What a run may not change around it."""
    links = sorted(link.name for link in Path("/sys/class/net").iterdir())
    mounts = [
        line for line in Path("/proc/self/mountinfo").read_text().splitlines() if "hil" in line.split(" ")[4]
    ]
    return {"links": links, "mounts": mounts, "rules": host_rules()}


def eventually(condition: Callable[[], bool], seconds: float = racks.PATIENCE) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        select.select([], [], [], 0.02)
    return True
