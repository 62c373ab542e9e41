"""The process that is the rack: its own namespaces, the virtual kernel and whatever is composed on it.

It is forked from the launcher before that has threads, reports once over a socket pair and ends when the launcher does.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from hil.errors import HilError, RigError, Signal
from hil.virtual.kernel import linux, namespaces
from hil.virtual.kernel.kernel import VirtualKernel
from hil.virtual.launch import rackbase, watchdog
from hil.virtual.launch.supervisor import Supervisor
from hil.virtual.launch.vexec import RACK_VARIABLE

Compose = Callable[[VirtualKernel], AbstractContextManager[Mapping[str, str]]]
"""Called after ``VirtualKernel.enter``: calls ``start``, plugs boards in, yields variables for the clients."""

_STOP_SECONDS = 10
_REPORT_SIZE = 1 << 20


class RackFailed(RigError):
    """The rack did not come up."""


class _Stop(Signal):
    """The rack was told to end."""


@dataclass(slots=True)
class RackHandle:
    """The launcher's grip on a rack that is up. What the launcher has to tell the watchdog goes to ``watch``."""

    held: rackbase.Base
    pid: int
    control: socket.socket
    watch: int

    @property
    def base(self) -> Path:
        return self.held.path

    def stop(self) -> None:
        """Tells the rack to end, waits for it and tidies up behind it."""
        self.control.close()
        os.close(self.watch)
        reap(self.pid, _STOP_SECONDS + 1)
        self.held.remove()


@dataclass(frozen=True, slots=True)
class _Pulse:
    """What the rack and its watchdog have of each other and of the launcher."""

    launcher: int
    reading: int
    writing: int
    silence: int

    def begin(self) -> None:
        """Forks the watchdog, which from here on expects ``watchdog.beat``."""
        watchdog.start(os.getpid(), self.launcher, self.reading, self.silence)
        os.close(self.reading)


def start(compose: Compose, silence: int = watchdog.SILENCE) -> RackHandle:
    """Forks the rack and waits until it is up. Raises ``RackFailed`` with the rack's own account of what failed.

    A rack that does not answer for ``silence`` seconds is ended by its watchdog.
    """
    rackbase.sweep()
    base = rackbase.create()
    ours, theirs = socket.socketpair()
    watched, watch = os.pipe()
    launcher = os.getpid()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _run(base, theirs, _Pulse(launcher, watched, watch, silence), compose)
    theirs.close()
    os.close(watched)
    handle = RackHandle(base, pid, ours, watch)
    try:
        _await_report(ours)
    except BaseException:
        handle.stop()
        raise
    return handle


def reap(pid: int, seconds: float) -> int | None:
    """Waits for child ``pid``, kills it after ``seconds``. Returns its wait status, ``None`` when already reaped."""
    descriptor = None
    try:
        descriptor = os.pidfd_open(pid)
        if not _readable(descriptor, seconds):
            os.kill(pid, signal.SIGKILL)
        return os.waitpid(pid, 0)[1]
    except (ChildProcessError, ProcessLookupError):
        return None
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _readable(descriptor: int, seconds: float) -> bool:
    import select

    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(int(seconds * 1000)))


def _await_report(control: socket.socket) -> None:
    data = b""
    while not data.endswith(b"\n"):
        more = control.recv(_REPORT_SIZE)
        if not more:
            raise RackFailed("the virtual rack ended while it started", hint="its messages are above")
        data += more
    report = json.loads(data)
    if not report["up"]:
        raise RackFailed(report["what"])


def _run(base: rackbase.Base, control: socket.socket, pulse: _Pulse, compose: Compose) -> NoReturn:
    """The rack's whole life, in the forked child."""
    status = 1
    try:
        _detach_from_terminal()
        pulse.begin()
        kernel = VirtualKernel(base.path)
        kernel.enter()
        # Only now: a change of credentials would have cleared it.
        linux.die_with_parent(signal.SIGTERM)
        if os.getppid() == pulse.launcher:
            watchdog.beat(kernel, pulse.writing)
            _live(kernel, control, compose)
            base.remove()
        status = 0
    except _Stop:
        status = 0
    except HilError as error:
        _report(control, up=False, what=str(error))
    except BaseException:
        traceback.print_exc()
        _report(control, up=False, what="the virtual rack failed to start; its messages are above")
    finally:
        sys.stderr.flush()
        os._exit(status)


def _live(kernel: VirtualKernel, control: socket.socket, compose: Compose) -> None:
    with compose(kernel) as variables:
        environment = {
            "SYSTEMD_DEVICE_VERIFY_SYSFS": "0",
            **variables,
            RACK_VARIABLE: str(kernel.base),
        }
        door = Supervisor(kernel.base, kernel.calls, environment)
        _report(control, up=True)
        # A launcher that dies closes its end; a SIGTERM does the same from this side.
        signal.signal(signal.SIGTERM, lambda _number, _frame: control.shutdown(socket.SHUT_RDWR))
        control.recv(1)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _end_within(_STOP_SECONDS)
        door.close()
    linux.unmount(str(namespaces.Layout(kernel.base / "root").root))


def _detach_from_terminal() -> None:
    """Keys such as Ctrl-C and Ctrl-Z mean the command, never the rack."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _on_terminate)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(2, 1)
    os.close(null)
    logging.basicConfig(level=logging.WARNING, format="hil rack: %(name)s: %(message)s", force=True)


def _on_terminate(_number: int, _frame: object) -> None:
    raise _Stop


def _end_within(seconds: float) -> None:
    """Tidying is bounded: a board that hangs does not keep the rack alive."""
    timer = threading.Timer(seconds, os._exit, (1,))
    timer.daemon = True
    timer.start()


def _report(control: socket.socket, *, up: bool, what: str = "") -> None:
    try:
        control.sendall(json.dumps({"up": up, "what": what}).encode() + b"\n")
    except OSError:
        return  # the launcher is gone; this process follows
