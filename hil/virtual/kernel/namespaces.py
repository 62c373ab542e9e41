"""Takes a process into the rack's own user, mount and network namespaces and lays out /sys, /dev and /run there.

No helper program and no root: the sequence of the rootless fact sheet, section 1. Root takes the same path. The user
keeps his own uid (self map); this process holds all capabilities inside until it ends, and must not exec.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

from hil.virtual.kernel import linux
from hil.virtual.kernel.trouble import step

_SIOCSIFFLAGS = 0x8914
_IFF_UP_RUNNING = 0x1 | 0x40
_QUIET = linux.MS_NOSUID | linux.MS_NODEV
_DEVPTS = "newinstance,ptmxmode=0666,mode=0620"
_HOST_DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "fuse", "net", "shm")
_HOST_SYS = ("devices/virtual", "devices/system")
_EMPTY_SYS = (
    "bus/usb/devices",
    "bus/usb/drivers",
    "bus/pci/devices",
    "class/tty",
    "class/net",
    "dev/char",
    "dev/block",
)
_OWN_RUN = ("udev", "netns")
RACK_PTS = Path("/dev/.rackpts")


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the rack's private trees lie below its base directory, as seen inside."""

    root: Path

    @property
    def sys(self) -> Path:
        return self.root / "sys"

    @property
    def dev(self) -> Path:
        return self.root / "dev"

    @property
    def run(self) -> Path:
        return self.root / "run"


def enter(base: Path) -> None:
    """Moves this single-threaded process into new namespaces; ``base`` is a directory of the user outside /run.

    Raises ``RackRefused`` naming the step, its errno and what mends it.
    """
    own_user_namespace()
    lay_out(base)


def lay_out(base: Path) -> None:
    """Mounts the rack's private /sys, /dev and /run, in namespaces of our own. Raises ``RackRefused``."""
    with step("mount / private"):
        linux.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE)
    with step("bring up lo"):
        _loopback_up()
    layout = Layout(base / "root")
    layout.root.mkdir(exist_ok=True)
    with step("mount tmpfs"):
        linux.mount("tmpfs", str(layout.root), "tmpfs", _QUIET, "mode=755")
    _lay_out_sys(layout)
    _lay_out_dev(layout)
    _lay_out_run(layout)


def own_user_namespace() -> None:
    """New user, mount and network namespaces with the caller's own ids and nobody else's."""
    uid, gid = os.geteuid(), os.getegid()
    with step("unshare"):
        linux.unshare(linux.CLONE_NEWUSER | linux.CLONE_NEWNS | linux.CLONE_NEWNET)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with step(f"write {name}"):
            Path("/proc/self", name).write_text(text)


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", _IFF_UP_RUNNING))


def _lay_out_sys(layout: Layout) -> None:
    layout.sys.mkdir()
    with step("mount sysfs"):
        fresh = _mount_sysfs(layout.sys)
    for name in ("bus", "class", "devices", "dev"):
        with step(f"mount tmpfs on /sys/{name}"):
            linux.mount("tmpfs", f"/sys/{name}", "tmpfs", _QUIET, "mode=755")
    for name in (*_EMPTY_SYS, *_HOST_SYS):
        Path("/sys", name).mkdir(parents=True, exist_ok=True)
    # A host's sysfs shows the host's interfaces: then class/net stays empty.
    for name in (*_HOST_SYS, *(("class/net",) if fresh else ())):
        with step(f"mount /sys/{name}"):
            linux.mount(str(layout.sys / name), f"/sys/{name}", None, linux.MS_BIND | linux.MS_REC)


def _mount_sysfs(target: Path) -> bool:
    """A sysfs of our network namespace; False when only the host's could be had (containers that mask parts of it)."""
    flags = _QUIET | linux.MS_NOEXEC
    for more in (0, linux.MS_RDONLY):
        try:
            linux.mount("sysfs", str(target), "sysfs", flags | more)
        except PermissionError:
            continue
        return True
    linux.mount("/sys", str(target), None, linux.MS_BIND | linux.MS_REC)
    return False


def _lay_out_dev(layout: Layout) -> None:
    dev = layout.dev
    dev.mkdir()
    with step("mount tmpfs for /dev"):
        linux.mount("tmpfs", str(dev), "tmpfs", linux.MS_NOSUID, "mode=755")
    for name in _HOST_DEVICES:
        _bind_if_there(Path("/dev", name), dev / name)
    # Two instances: one for terminals that clients open, one for the rack's own ttys.
    for name in ("pts", RACK_PTS.name):
        (dev / name).mkdir()
        with step("mount devpts"):
            linux.mount("devpts", str(dev / name), "devpts", linux.MS_NOSUID | linux.MS_NOEXEC, _DEVPTS)
    (dev / "ptmx").symlink_to("pts/ptmx")
    (dev / "fd").symlink_to("/proc/self/fd")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        (dev / name).symlink_to(f"/proc/self/fd/{number}")
    (dev / "bus/usb").mkdir(parents=True)
    (dev / "char").mkdir()
    with step("mount /dev"):
        linux.mount(str(dev), "/dev", None, linux.MS_BIND | linux.MS_REC)


def _lay_out_run(layout: Layout) -> None:
    run = layout.run
    run.mkdir()
    with step("mount tmpfs for /run"):
        linux.mount("tmpfs", str(run), "tmpfs", _QUIET, "mode=755")
    for entry in Path("/run").iterdir():
        if entry.name in _OWN_RUN:
            continue
        if entry.is_symlink():
            (run / entry.name).symlink_to(os.readlink(entry))
        elif entry.is_dir() or entry.is_file():
            _bind_if_there(entry, run / entry.name)
    (run / "udev/data").mkdir(parents=True)
    (run / "udev/tags").mkdir()
    (run / "udev/control").touch()  # libudev joins udev's multicast group only when this exists
    (run / "netns").mkdir()
    with step("mount /run"):
        linux.mount(str(run), "/run", None, linux.MS_BIND | linux.MS_REC)


def _bind_if_there(source: Path, target: Path) -> None:
    if not source.exists():
        return
    if source.is_dir():
        target.mkdir()
    else:
        target.touch()
    try:
        linux.mount(str(source), str(target), None, linux.MS_BIND | linux.MS_REC)
    except OSError:
        # One of the host's entries that this user cannot see is none the rack needs; what it needs is opened later.
        return
