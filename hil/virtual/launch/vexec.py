"""Turns this process into a program inside a rack: the user's own uid, no capabilities, tty calls seen by the rack.

Facts: rootless fact sheet 1 step 15.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from hil.errors import HilError
from hil.virtual.kernel import linux, seccomp
from hil.virtual.kernel.trouble import step
from hil.virtual.launch import rackbase, supervisor

RACK_VARIABLE = "HIL_RACK"
_NAMESPACES = linux.CLONE_NEWNS | linux.CLONE_NEWNET
_NOT_EXECUTABLE, _NOT_FOUND, _NOT_JOINED = 126, 127, 125


def inside() -> Path | None:
    """The base directory of the rack this process runs in, if any."""
    base = os.environ.get(RACK_VARIABLE)
    return Path(base) if base else None


def become(base: Path, command: Sequence[str], launcher: int | None = None) -> NoReturn:
    """Joins the rack at ``base`` and executes ``command``. Never returns; call it in a forked child.

    With ``launcher``, the pid of this process's parent, the command gets SIGHUP when that ends first: the rack ends
    with its launcher, and what runs in it would hold locks and namespaces and see only errors.

    Exit status 125 when joining fails, 126 and 127 as a shell's when the command cannot be executed.
    """
    try:
        if inside() != base:
            os.environ.update(_join(base))
        if launcher is not None:
            # Only now: joining changes credentials, which would have cleared it.
            linux.die_with_parent(signal.SIGHUP)
            if os.getppid() != launcher:
                raise ProcessLookupError("the launcher has ended")
    except (OSError, HilError) as error:
        _give_up(_NOT_JOINED, f"cannot join the virtual rack: {error}")
    execute(command)


def execute(command: Sequence[str]) -> NoReturn:
    """Executes ``command`` as a shell would find it, programs of this Python environment (``pytest``) first."""
    own = os.path.dirname(sys.executable)
    if own not in os.get_exec_path():
        os.environ["PATH"] = os.pathsep.join([own, *os.get_exec_path()])
    # Python ignores these; a program expects the default.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    try:
        os.execvp(command[0], list(command))
    except FileNotFoundError:
        _give_up(_NOT_FOUND, f"{command[0]}: command not found")
    except OSError as error:
        _give_up(_NOT_EXECUTABLE, f"{command[0]}: {error.strerror}")


def _join(base: Path) -> dict[str, str]:
    directory = os.getcwd()
    with step("connect to the rack"):
        connection, pid = rackbase.supervisor(base)
    with connection:
        with step("join the namespaces"):
            _enter_namespaces(pid)
        os.chdir(directory)
        with step("drop capabilities"):
            linux.drop_capabilities()
            linux.no_new_privileges()
        with step("install the seccomp listener"):
            listener = linux.install_seccomp_listener(seccomp.filter_program())
        environment = supervisor.hand_over(connection, listener)
        os.close(listener)
    return environment


def _enter_namespaces(pid: int) -> None:
    flags = _NAMESPACES
    ours, theirs = os.stat("/proc/self/ns/user"), os.stat(f"/proc/{pid}/ns/user")
    # Joining the user namespace one is in is EINVAL.
    if (ours.st_dev, ours.st_ino) != (theirs.st_dev, theirs.st_ino):
        flags |= linux.CLONE_NEWUSER
    descriptor = os.pidfd_open(pid)
    try:
        linux.setns(descriptor, flags)
    finally:
        os.close(descriptor)


def _give_up(status: int, message: str) -> NoReturn:
    sys.stderr.write(f"hil rack: {message}\n")
    sys.stderr.flush()
    os._exit(status)
