"""What goes wrong when the virtual rack takes its place in the kernel, and the command that mends it.

Facts: rootless fact sheet sections 3 and 4.
"""

from __future__ import annotations

import errno
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hil.errors import RigError

if TYPE_CHECKING:
    from collections.abc import Iterator

_APPARMOR = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
_MAX_USER_NAMESPACES = Path("/proc/sys/user/max_user_namespaces")
_CLONE_SWITCH = Path("/proc/sys/kernel/unprivileged_userns_clone")


class RackRefused(RigError):
    """The kernel refused a step of entering the virtual rack. ``step`` and ``number`` (errno) say which and how."""

    def __init__(self, step: str, number: int, hint: str) -> None:
        self.step = step
        self.number = number
        name = errno.errorcode.get(number, str(number))
        super().__init__(f"the virtual rack cannot start: {step} failed", found=name, hint=hint)


@contextmanager
def step(name: str) -> Iterator[None]:
    """Turns an ``OSError`` of the block into ``RackRefused`` with the command that mends it."""
    try:
        yield
    except RackRefused:
        raise
    except OSError as error:
        number = error.errno or errno.EIO
        raise RackRefused(name, number, hint_for(name, number)) from error


def hint_for(name: str, number: int) -> str:
    """What to do when step ``name`` fails with errno ``number``."""
    if name in ("unshare", "write setgroups", "write uid_map", "write gid_map"):
        return _user_namespace_hint(number)
    if name == "open /dev/fuse":
        if number in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
            return "sudo modprobe fuse (in a container: start it with --device /dev/fuse)"
        return "sudo chmod 0666 /dev/fuse (udev's default; a container wants --device /dev/fuse)"
    if name.startswith("mount") and number in (errno.EACCES, errno.EPERM):
        if _reads(_APPARMOR) == "1":
            return _user_namespace_hint(number)
        return (
            "a security profile forbids mounts; in Docker: "
            "--security-opt seccomp=unconfined --security-opt apparmor=unconfined --device /dev/fuse"
        )
    if name == "install the seccomp listener" and number == errno.EBUSY:
        return "this process already runs under a seccomp listener, such as another virtual rack: leave that first"
    return "see docs/reference/rootless.md; `hil doctor` tries each step alone"


def _user_namespace_hint(number: int) -> str:
    if _reads(_APPARMOR) == "1":
        return "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
    if number == errno.ENOSPC or _reads(_MAX_USER_NAMESPACES) == "0":
        return "sudo sysctl -w user.max_user_namespaces=15000"
    if _reads(_CLONE_SWITCH) == "0":
        return "sudo sysctl -w kernel.unprivileged_userns_clone=1"
    return (
        "user namespaces are forbidden here; in Docker: "
        "--security-opt seccomp=unconfined --security-opt apparmor=unconfined"
    )


def _reads(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
