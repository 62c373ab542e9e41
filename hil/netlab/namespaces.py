"""Network namespaces held by a file descriptor: no name, no file under /run, gone when the last holder is.

Entered by ``setns`` in throw-away threads, never by ``ip netns exec``: that mounts a fresh sysfs over /sys
and hides the virtual rack's USB tree (rootless fact sheet, section 3).
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from hil.errors import NetworkError
from hil.netlab import privileges

T = TypeVar("T")

# An ordinary user's PATH often lacks the directories where ip lives.
_SYSTEM_DIRECTORIES = "/usr/sbin:/sbin:/usr/bin:/bin"
COMMAND_TIMEOUT = 20.0


class NetworkNamespace:
    """One network namespace, kept alive by the descriptor ``fd``.

    It vanishes, with its interfaces, when this and every socket opened inside are closed.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd

    @classmethod
    def create(cls) -> NetworkNamespace:
        """A new, empty namespace (even ``lo`` is down). Raises ``NetworkError``."""
        return _in_thread(_create_here)

    @classmethod
    def current(cls) -> NetworkNamespace:
        """The namespace of the calling thread."""
        return cls(_open_current())

    def run(self, function: Callable[[], T]) -> T:
        """``function()`` called inside this namespace, on a thread of its own; its result or its exception."""

        def inside() -> T:
            privileges.enter_network(self.fd)
            return function()

        return _in_thread(inside)

    def socket(
        self,
        family: int = socket.AF_INET,
        type: int = socket.SOCK_STREAM,
        protocol: int = 0,
    ) -> socket.socket:
        """A socket that lives in this namespace and may be used from any thread."""
        return self.run(lambda: socket.socket(family, type, protocol))

    def command(self, argv: Sequence[str], *, stdin: str = "", pass_fds: Sequence[int] = ()) -> str:
        """Standard output of a program run in this namespace with the network capabilities.

        Raises ``NetworkError`` with what it wrote when it is missing, fails or takes over 20 seconds.
        """
        program = shutil.which(argv[0], path=f"{os.environ.get('PATH', '')}:{_SYSTEM_DIRECTORIES}")
        if program is None:
            raise NetworkError(f"{argv[0]} is not installed", hint="apt install iproute2 nftables")
        return self.run(lambda: _execute([program, *argv[1:]], stdin, pass_fds))

    def ip_batch(self, lines: Sequence[str], *, pass_fds: Sequence[int] = ()) -> None:
        """Run ``lines`` as commands of one ``ip`` process. Raises ``NetworkError`` at the first that fails."""
        self.command(["ip", "-batch", "-"], stdin="\n".join(lines) + "\n", pass_fds=pass_fds)

    def set_sysctl(self, name: str, value: int) -> None:
        """Write ``/proc/sys/net/<name>`` of this namespace. Raises ``NetworkError``."""
        path = f"/proc/sys/net/{name}"

        def write() -> None:
            with open(path, "w", encoding="ascii") as file:
                file.write(str(value))

        try:
            self.run(write)
        except OSError as error:
            raise NetworkError(
                f"cannot set {path} to {value}",
                found=str(error),
                hint="in a container /proc/sys must be writable (--security-opt systempaths=unconfined)",
            ) from error

    def close(self) -> None:
        """Let go of the namespace; calling it again does nothing."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


class _Call(threading.Thread, Generic[T]):
    """One function call on its own thread; a thread that changed its namespace must not be used again."""

    def __init__(self, function: Callable[[], T]) -> None:
        super().__init__(name="netns-call", daemon=True)
        self._function = function
        self._result: list[T] = []
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._result.append(self._function())
        except BaseException as error:
            self._error = error

    def result(self) -> T:
        self.join()
        if self._error is not None:
            raise self._error
        return self._result[0]


def _in_thread(function: Callable[[], T]) -> T:
    call = _Call(function)
    call.start()
    return call.result()


def _create_here() -> NetworkNamespace:
    privileges.unshare_network()
    return NetworkNamespace(_open_current())


def _open_current() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _execute(argv: list[str], stdin: str, pass_fds: Sequence[int]) -> str:
    privileges.raise_ambient()
    try:
        done = subprocess.run(
            argv,
            input=stdin,
            pass_fds=pass_fds,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise NetworkError(f"{argv[0]} did not finish", expected=f"within {COMMAND_TIMEOUT:.0f} s") from error
    if done.returncode != 0:
        raise NetworkError(
            f"{' '.join(argv)} failed with status {done.returncode}",
            found=(done.stderr or done.stdout).strip()[:500],
        )
    return done.stdout
