"""A UDP socket on the running loop that takes what has come in batches.

asyncio's own datagram endpoint goes once around the loop for each datagram, which under a flood costs several times
what the datagram itself does.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import Callable

Address = tuple[str, int]

_BATCH = 32  # datagrams, then others have their turn
_LARGEST = 65535  # bytes
_QUEUED = 1024  # datagrams that wait for room in the socket's buffer; what is more is lost, as on any network
_RECEIVE_BUFFER = 4 * 1024 * 1024  # bytes: a burst of many boards must not be lost before it is read


class Datagrams:
    """Calls ``take`` with each datagram and its sender's address. Needs a running loop; owns ``sock``."""

    def __init__(self, sock: socket.socket, take: Callable[[bytes, Address], None]) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        self._sock = sock
        self._take = take
        self._waiting: deque[tuple[bytes, Address]] = deque(maxlen=_QUEUED)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock, self._read)

    def send(self, data: bytes, address: Address) -> None:
        """Put a datagram on the wire, behind those that wait; nothing after ``close``."""
        if self._waiting or not self._sent(data, address):
            self._waiting.append((data, address))
            self._loop.add_writer(self._sock, self._write)

    def close(self) -> None:
        """Stop reading and close the socket. A second time does nothing."""
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock)
            self._loop.remove_writer(self._sock)
            self._waiting.clear()
            self._sock.close()

    def _read(self) -> None:
        for _ in range(_BATCH):
            try:
                data, address = self._sock.recvfrom(_LARGEST)
            except BlockingIOError:
                return
            except OSError:
                # An ICMP error for an earlier datagram: anyone can forge one, retransmission is the judge.
                continue
            self._take(data, address[:2])
            if self._sock.fileno() < 0:
                return

    def _write(self) -> None:
        while self._waiting:
            if not self._sent(*self._waiting[0]):
                return
            self._waiting.popleft()
        self._loop.remove_writer(self._sock)

    def _sent(self, data: bytes, address: Address) -> bool:
        """Whether the datagram is off our hands; ``False``: no room for it now."""
        with contextlib.suppress(OSError):
            try:
                self._sock.sendto(data, address)
            except BlockingIOError:
                return False
        return True
