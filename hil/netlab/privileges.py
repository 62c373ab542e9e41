"""Kernel calls on network namespaces and capabilities that the standard library does not offer in Python 3.11.

All of them act on the calling thread only, so a helper thread may change its namespace or its capabilities
and take them with it when it ends. In a user namespace with the self map (rootless fact sheet, sections 3
and 4) the process holds every capability, but a program that it executes holds none: capabilities survive an
exec by an ordinary uid only when they are ambient.
"""

from __future__ import annotations

import ctypes
import os

from hil.errors import NetworkError

CLONE_NEWNET = 0x40000000

CAP_NET_ADMIN = 12
CAP_NET_RAW = 13
CAP_SYS_ADMIN = 21
NETWORK_CAPABILITIES = (CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_ADMIN)

_CAPABILITY_VERSION_3 = 0x20080522
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2

_libc = ctypes.CDLL(None, use_errno=True)


class _CapHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapSets(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def unshare_network() -> None:
    """Move the calling thread into a new, empty network namespace. Raises ``NetworkError``."""
    _check(_libc.unshare(CLONE_NEWNET), "cannot create a network namespace")


def enter_network(fd: int) -> None:
    """Move the calling thread into the network namespace behind ``fd``. Raises ``NetworkError``."""
    _check(_libc.setns(fd, CLONE_NEWNET), "cannot enter a network namespace")


def raise_ambient(capabilities: tuple[int, ...] = NETWORK_CAPABILITIES) -> None:
    """Let programs that the calling thread executes keep ``capabilities``. Raises ``NetworkError``."""
    header = _CapHeader(_CAPABILITY_VERSION_3, 0)
    sets = (_CapSets * 2)()
    _check(_libc.capget(ctypes.byref(header), sets), "cannot read capabilities")
    for capability in capabilities:
        sets[capability // 32].inheritable |= 1 << (capability % 32)
    _check(_libc.capset(ctypes.byref(header), sets), "cannot make capabilities inheritable")
    for capability in capabilities:
        _check(
            _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability, 0, 0),
            f"cannot hand capability {capability} to a program",
        )


def has_network_admin() -> bool:
    """Whether the calling thread may change addresses, routes and firewall rules of its user namespace."""
    header = _CapHeader(_CAPABILITY_VERSION_3, 0)
    sets = (_CapSets * 2)()
    _check(_libc.capget(ctypes.byref(header), sets), "cannot read capabilities")
    return bool(sets[0].effective & (1 << CAP_NET_ADMIN))


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise NetworkError(
            what,
            found=os.strerror(number),
            hint="run inside the virtual rack (hil rack run) or start `hil network serve` with sudo",
        )
