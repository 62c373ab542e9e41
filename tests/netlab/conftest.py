"""Runs a function of a test inside namespaces of its own: as root and as an ordinary user alike."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable

import pytest

_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_LIMIT = 60.0

InNamespaces = Callable[[Callable[[], None]], None]


def _enter() -> None:
    uid, gid = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET | _CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "unshare")
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{uid} {uid} 1"),
        ("gid_map", f"{gid} {gid} 1"),
    ):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)


def _child(function: Callable[[], None], report: int) -> None:
    status = 1
    try:
        _enter()
        function()
        status = 0
    except BaseException:
        os.write(report, traceback.format_exc()[-30000:].encode())
    finally:
        sys.stdout.flush()
        os._exit(status)


def _wait(pid: int) -> bool:
    handle = os.pidfd_open(pid)
    try:
        return bool(select.select([handle], [], [], _LIMIT)[0])
    finally:
        os.close(handle)


def _run_in_namespaces(function: Callable[[], None]) -> None:
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read_end)
        _child(function, write_end)
    os.close(write_end)
    in_time = _wait(pid)
    if not in_time:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    with os.fdopen(read_end, "rb") as report:
        text = report.read().decode()
    assert in_time, f"the child did not finish within {_LIMIT:.0f} s\n{text}"
    assert status == 0, f"in the child (status {status}):\n{text}"


@pytest.fixture
def in_namespaces() -> InNamespaces:
    """Calls a function in a forked child with own user (self map), network and mount namespaces.

    The child's failure fails the test with the child's traceback; a child that hangs is killed by its pid.
    """
    return _run_in_namespaces
