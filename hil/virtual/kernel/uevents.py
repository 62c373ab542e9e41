"""Device events as the kernel and udev multicast them over NETLINK_KOBJECT_UEVENT.

Two forms exist: the kernel's own (group 1, ``add@/devices/...`` and ``KEY=value`` strings) and udev's (group 2, a
40-byte header with hashes for socket filters). Listeners of libudev drop group-1 messages that carry a sender's port,
which every message from user space does; tools that read the socket themselves see both.
Facts: virtual rack fact sheet 2b, golden events.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

GROUP_KERNEL = 1
GROUP_UDEV = 2
_NETLINK_KOBJECT_UEVENT = 15
_UDEV_MAGIC = 0xFEEDCAFE
_HEADER_SIZE = 40
_FIRST_SEQNUM = 1038


@dataclass(frozen=True, slots=True)
class Uevent:
    """One event. ``kernel`` holds what the kernel knows, ``udev`` and ``tags`` what udevd adds (SEQNUM apart)."""

    action: str
    devpath: str
    subsystem: str
    kernel: Mapping[str, str]
    udev: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()

    def kernel_properties(self, seqnum: int) -> dict[str, str]:
        """The properties of the kernel's own message, in its order."""
        head = {"ACTION": self.action, "DEVPATH": self.devpath, "SUBSYSTEM": self.subsystem}
        # The kernel names nodes relative to /dev; udev makes the name absolute.
        own = {key: value.removeprefix("/dev/") for key, value in self.kernel.items()}
        return {**head, **own, "SEQNUM": str(seqnum)}

    def udev_properties(self, seqnum: int) -> dict[str, str]:
        """The properties after rule processing, as a udev monitor prints them."""
        head = {"ACTION": self.action, "DEVPATH": self.devpath, "SUBSYSTEM": self.subsystem}
        return {**head, **self.kernel, "SEQNUM": str(seqnum), **self.udev}


def kernel_message(event: Uevent, seqnum: int) -> bytes:
    """The bytes the kernel multicasts to group 1."""
    return f"{event.action}@{event.devpath}\0".encode() + _strings(event.kernel_properties(seqnum))


def udev_message(event: Uevent, seqnum: int) -> bytes:
    """The bytes udev multicasts to group 2."""
    body = _strings(event.udev_properties(seqnum))
    devtype = event.kernel.get("DEVTYPE", "")
    header = struct.pack(">8sI", b"libudev\0", _UDEV_MAGIC)
    header += struct.pack("=III", _HEADER_SIZE, _HEADER_SIZE, len(body))
    bloom = _tag_bloom(event.tags)
    hashes = (_hash(event.subsystem), _hash(devtype) if devtype else 0, bloom >> 32, bloom & 0xFFFFFFFF)
    return header + struct.pack(">IIII", *hashes) + body


def murmur2(data: bytes, seed: int = 0) -> int:
    """MurmurHash2, 32 bits: what udev's socket filters compare subsystem, type and tags by."""
    multiplier, mask = 0x5BD1E995, 0xFFFFFFFF
    value = seed ^ len(data)
    whole = len(data) & ~3
    for (word,) in struct.iter_unpack("<I", data[:whole]):
        word = word * multiplier & mask
        word = (word ^ word >> 24) * multiplier & mask
        value = (value * multiplier & mask) ^ word
    if data[whole:]:
        value = (value ^ int.from_bytes(data[whole:], "little")) * multiplier & mask
    value = (value ^ value >> 13) * multiplier & mask
    return value ^ value >> 15


class UeventSocket:
    """Sends events of the rack's network namespace and numbers them.

    It never waits for a listener: one whose buffer is full loses events and is told so (ENOBUFS), as by a real kernel.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_KOBJECT_UEVENT)
        self._socket.bind((0, 0))
        self._lock = threading.Lock()
        self._seqnum = _FIRST_SEQNUM

    def number(self, count: int) -> int:
        """Takes ``count`` sequence numbers and returns the first."""
        with self._lock:
            first = self._seqnum
            self._seqnum += count
            return first

    def send_kernel(self, event: Uevent, seqnum: int) -> None:
        """Multicasts the kernel's form."""
        self._send(kernel_message(event, seqnum), GROUP_KERNEL)

    def send_udev(self, event: Uevent, seqnum: int) -> None:
        """Multicasts udev's form."""
        self._send(udev_message(event, seqnum), GROUP_UDEV)

    def close(self) -> None:
        """No event follows."""
        self._socket.close()

    def _send(self, message: bytes, group: int) -> None:
        try:
            self._socket.sendto(message, socket.MSG_DONTWAIT, (0, group))
        except OSError:
            # Nobody listens, or a listener's buffer is full; the kernel loses its own events likewise.
            return


def _strings(properties: Mapping[str, str]) -> bytes:
    return b"".join(f"{key}={value}".encode() + b"\0" for key, value in properties.items())


def _hash(text: str) -> int:
    return murmur2(text.encode())


def _tag_bloom(tags: tuple[str, ...]) -> int:
    """The 64-bit Bloom filter of ``tags``: four bits a tag, from its hash."""
    bits = 0
    for tag in tags:
        value = _hash(tag)
        for shift in (0, 6, 12, 18):
            bits |= 1 << (value >> shift & 63)
    return bits
