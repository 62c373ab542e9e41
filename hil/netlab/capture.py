"""A capture of what the boards' links carry, kept in memory as a pcap file.

An AF_PACKET socket sees every frame of a namespace on each interface that it crosses. Only the boards' side is
kept, so a forwarded packet appears once, a packet that the firewall stops appears as the board sent it, and a
rejection appears as the board received it.
"""

from __future__ import annotations

import os
import selectors
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass

from hil.netlab import pcap
from hil.netlab.namespaces import NetworkNamespace

InterfaceFilter = Callable[[str], bool]

_ETH_P_ALL = 0x0003
_ARPHRD_ETHER = 1
_SO_TIMESTAMPNS = 35
_SO_RCVBUFFORCE = 33
_SOL_PACKET = 263
_PACKET_STATISTICS = 6
_TIMESPEC = struct.Struct("@qq")
_RECEIVE_BUFFER = 16 * 1024 * 1024
_LARGEST_FRAME = 65536 + 64


@dataclass(frozen=True, slots=True)
class Captured:
    """A finished capture: a pcap file, how many frames it holds and how many were lost to its bounds."""

    data: bytes
    frames: int
    lost: int


class Capture:
    """A running capture; it starts when made and must be stopped."""

    def __init__(
        self,
        namespace: NetworkNamespace,
        keep: InterfaceFilter,
        *,
        snaplen: int = 65535,
        limit: int = 1 << 26,
        ahead: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """Capture in ``namespace`` on interfaces whose name ``keep`` accepts.

        ``snaplen`` bytes of each frame are kept and ``limit`` bytes in all; later frames are counted as lost.
        ``ahead``: seconds that the run's clock is ahead of the system's, which stamps the frames.
        """
        self._keep = keep
        self._snaplen = snaplen
        self._limit = limit
        self._ahead = ahead
        self._parts = [pcap.file_header(snaplen)]
        self._size = len(self._parts[0])
        self._lost = 0
        self._socket = namespace.run(_open_packet_socket)
        self._wake_read, self._wake_write = os.pipe()
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)
        self._thread.start()

    def stop(self) -> Captured:
        """End the capture and return it, with every frame that was on the links before this call."""
        os.write(self._wake_write, b"x")
        self._thread.join()
        statistics = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        dropped_by_kernel: int = struct.unpack("II", statistics)[1]
        self._socket.close()
        os.close(self._wake_read)
        os.close(self._wake_write)
        return Captured(b"".join(self._parts), len(self._parts) - 1, self._lost + dropped_by_kernel)

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            selector.register(self._wake_read, selectors.EVENT_READ)
            stopping = False
            while not stopping:
                ready = selector.select()
                stopping = any(key.fd == self._wake_read for key, _ in ready)
                self._drain()

    def _drain(self) -> None:
        while True:
            try:
                data, ancillary, _, source = self._socket.recvmsg(_LARGEST_FRAME, 64)
            except BlockingIOError:
                return
            except OSError:
                continue  # an interface went down: reported once, the socket works on
            interface, _, _, hardware_type = source[:4]
            if hardware_type == _ARPHRD_ETHER and self._keep(interface):
                at = _timestamp(ancillary) + int(self._ahead() * 1_000_000_000)
                self._store(pcap.Frame(at, len(data), data[: self._snaplen]))

    def _store(self, frame: pcap.Frame) -> None:
        entry = pcap.record(frame)
        if self._size + len(entry) > self._limit:
            self._lost += 1
            return
        self._parts.append(entry)
        self._size += len(entry)


def _open_packet_socket() -> socket.socket:
    packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    packets.setblocking(False)
    packets.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    try:
        packets.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
    except PermissionError:
        # needs CAP_NET_ADMIN of the first user namespace; take what the system's limit allows
        packets.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
    return packets


def _timestamp(ancillary: list[tuple[int, int, bytes]]) -> int:
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
            seconds, nanoseconds = _TIMESPEC.unpack(data[: _TIMESPEC.size])
            return int(seconds) * 1_000_000_000 + int(nanoseconds)
    return 0
