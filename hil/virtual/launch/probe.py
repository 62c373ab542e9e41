"""Tries each step that a virtual rack needs, in a child of its own, for ``hil doctor``."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hil.virtual.kernel import linux, namespaces, seccomp
from hil.virtual.kernel.trouble import RackRefused, step


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """One step: ``found`` is the error's name and ``hint`` the command that mends it, both empty when ``ok``."""

    step: str
    ok: bool
    found: str = ""
    hint: str = ""


def probe() -> list[ProbeResult]:
    """The steps up to the first that fails; leaves nothing behind."""
    reader, writer = os.pipe()
    with tempfile.TemporaryDirectory(prefix="hil-probe-", dir="/tmp") as directory:
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            _try_all(Path(directory), writer)
        os.close(writer)
        with os.fdopen(reader) as stream:
            lines = stream.readlines()
        os.waitpid(pid, 0)
    return [ProbeResult(*json.loads(line)) for line in lines]


def _try_all(base: Path, writer: int) -> None:
    """In the child: one JSON line a step."""
    try:
        for name, attempt in _STEPS:
            try:
                attempt(base)
            except RackRefused as error:
                _tell(writer, ProbeResult(error.step, False, error.found, error.hint))
                return
            _tell(writer, ProbeResult(name, True))
    finally:
        os._exit(0)


def _tell(writer: int, result: ProbeResult) -> None:
    line = json.dumps([result.step, result.ok, result.found, result.hint])
    os.write(writer, line.encode() + b"\n")


def _user_namespace(_base: Path) -> None:
    namespaces.own_user_namespace()


def _mounts(base: Path) -> None:
    namespaces.lay_out(base)


def _fuse(_base: Path) -> None:
    from hil.virtual.kernel.fuse import FuseServer

    FuseServer(Path("/dev/bus/usb")).start()


def _listener(_base: Path) -> None:
    with step("install the seccomp listener"):
        linux.drop_capabilities()
        linux.no_new_privileges()
        os.close(linux.install_seccomp_listener(seccomp.filter_program()))


_STEPS: tuple[tuple[str, Callable[[Path], None]], ...] = (
    ("user, mount and network namespaces", _user_namespace),
    ("private /sys, /dev and /run", _mounts),
    ("usbfs through /dev/fuse", _fuse),
    ("tty calls by seccomp notification", _listener),
)
