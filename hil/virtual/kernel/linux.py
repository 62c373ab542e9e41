"""The system calls that Python has no name for: mount, unshare, setns, capabilities, seccomp, others' memory.

Numbers are those of the Linux user API headers, for x86-64 and 64-bit ARM.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from dataclasses import dataclass

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
MNT_DETACH = 2

_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP, _PR_SET_SECUREBITS, _PR_SET_CHILD_SUBREAPER = 1, 24, 28, 36
_PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 38, 47, 4
# NOROOT, NO_SETUID_FIXUP, KEEP_CAPS off, NO_CAP_AMBIENT_RAISE: each set and locked.
_SECUREBITS_NO_PRIVILEGE = 0x3 | 0xC | 0x20 | 0xC0
_CAPABILITY_VERSION_3 = 0x20080522
_SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_NEW_LISTENER = 1, 8


@dataclass(frozen=True, slots=True)
class Machine:
    """What differs between processors: AUDIT_ARCH and system call numbers."""

    audit_arch: int
    ioctl: int
    seccomp: int
    capset: int
    rt_sigqueueinfo: int


_MACHINES = {
    "x86_64": Machine(0xC000003E, 16, 317, 126, 129),
    "aarch64": Machine(0xC00000B7, 29, 277, 91, 138),
}

_libc = ctypes.CDLL(None, use_errno=True)


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


for _function in (_libc.process_vm_readv, _libc.process_vm_writev):
    _function.restype = ctypes.c_ssize_t
    _function.argtypes = [
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_ulong,
        ctypes.c_void_p,
        ctypes.c_ulong,
        ctypes.c_ulong,
    ]


def machine() -> Machine:
    """The numbers for this processor. Raises ``OSError`` ENOSYS on others."""
    try:
        return _MACHINES[platform.machine()]
    except KeyError:
        raise OSError(errno.ENOSYS, f"no system call numbers for {platform.machine()}") from None


def mount(source: str | None, target: str, kind: str | None, flags: int = 0, options: str = "") -> None:
    """mount(2). Raises ``OSError``."""
    arguments = [text.encode() if text else None for text in (source, target, kind)]
    _check(_libc.mount(*arguments, ctypes.c_ulong(flags), options.encode() or None), f"mount {target}")


def unmount(target: str) -> None:
    """Takes a mount away, now for new opens and for good when its last user closes."""
    _check(_libc.umount2(target.encode(), MNT_DETACH), f"umount {target}")


def unshare(flags: int) -> None:
    """unshare(2). Raises ``OSError``."""
    _check(_libc.unshare(flags), "unshare")


def setns(descriptor: int, flags: int) -> None:
    """setns(2); with a pidfd it joins all namespaces named in ``flags`` at once."""
    _check(_libc.setns(descriptor, flags), "setns")


def die_with_parent(number: int) -> None:
    """Sends this process signal ``number`` when the thread that forked it ends."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0), "prctl PDEATHSIG")


def adopt_orphans() -> None:
    """Descendants whose parents end become children of this process."""
    _check(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl CHILD_SUBREAPER")


def drop_capabilities() -> None:
    """Leaves this process without any capability, for good: uid 0 gets none back at exec either."""
    _check(_libc.prctl(_PR_SET_SECUREBITS, _SECUREBITS_NO_PRIVILEGE, 0, 0, 0), "prctl SECUREBITS")
    _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    capability = 0
    while _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) == 0:
        capability += 1
    header = ctypes.create_string_buffer(struct.pack("<Ii", _CAPABILITY_VERSION_3, 0))
    nothing = ctypes.create_string_buffer(24)
    _check(_libc.syscall(machine().capset, header, nothing), "capset")


def no_new_privileges() -> None:
    """No set-uid program gains anything from here on; needed before a seccomp filter without capabilities."""
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl NO_NEW_PRIVS")


def install_seccomp_listener(program: bytes) -> int:
    """Installs a BPF program (8 bytes an instruction) and returns the descriptor of its notifications."""
    code = ctypes.create_string_buffer(program)
    filter_ = ctypes.create_string_buffer(struct.pack("@HxxxxxxQ", len(program) // 8, ctypes.addressof(code)))
    number = machine().seccomp
    result = _libc.syscall(number, _SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_NEW_LISTENER, filter_)
    _check(result, "seccomp")
    return int(result)


def read_memory(pid: int, address: int, length: int) -> bytes:
    """``length`` bytes at ``address`` of process or thread ``pid``. Raises ``OSError``, EFAULT if some are missing."""
    buffer = ctypes.create_string_buffer(length)
    _transfer(_libc.process_vm_readv, pid, buffer, address, length)
    return buffer.raw


def write_memory(pid: int, address: int, data: bytes) -> None:
    """Writes ``data`` at ``address`` of process ``pid``. Raises ``OSError``."""
    if data:
        _transfer(
            _libc.process_vm_writev, pid, ctypes.create_string_buffer(data, len(data)), address, len(data)
        )


def queue_signal(pid: int, number: int, error: int, code: int, address: int) -> None:
    """Sends ``number`` with ``si_errno``, ``si_code`` (negative) and ``si_addr``. Raises ``OSError``."""
    information = struct.pack("=iii4xQ", number, error, code, address).ljust(128, b"\0")
    buffer = ctypes.create_string_buffer(information, len(information))
    _check(_libc.syscall(machine().rt_sigqueueinfo, pid, number, buffer), "rt_sigqueueinfo")


def _transfer(
    call: ctypes._NamedFuncPointer, pid: int, buffer: ctypes.Array[ctypes.c_char], address: int, length: int
) -> None:
    if length == 0:
        return
    here = _Iovec(ctypes.addressof(buffer), length)
    there = _Iovec(address, length)
    moved = call(pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
    if moved < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"memory of process {pid}: {os.strerror(number)}")
    if moved != length:
        raise OSError(errno.EFAULT, f"memory of process {pid}: {moved} of {length} bytes")


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
