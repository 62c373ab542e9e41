"""Connections that ask for nothing: ``python -m benchmarks.flood HOST PORT IDLE BODIES TOKEN``.

``IDLE`` never send a byte; ``BODIES`` announce 100 kB and send a byte a second, every other one with ``TOKEN``.
Prints a line when all have been opened. What the server closes is opened again, some each second, until standard
input ends; then prints how many are open.
"""

from __future__ import annotations

import contextlib
import resource
import select
import socket
import sys
import time

_AGAIN = 200  # connections opened again in each second
_PATIENCE = 30.0  # seconds for one to be taken
_HEAD = (
    "POST /v1/devices/events HTTP/1.1\r\nHost: cloud\r\n{}Content-Type: application/json\r\n"
    'Content-Length: 100000\r\n\r\n{{"name":"'
)


class Visitor:
    """One connection. ``head``: what it sends first; empty for one that says nothing."""

    def __init__(self, address: tuple[str, int], head: bytes) -> None:
        self._address = address
        self._head = head
        self._socket: socket.socket | None = None

    def open(self) -> None:
        """Connect, if the server has not taken it yet or has closed it."""
        if self._socket is None:
            with contextlib.suppress(OSError):
                self._socket = socket.create_connection(self._address, _PATIENCE)
                self._socket.setblocking(False)
                self._socket.send(self._head)

    def go_on(self) -> bool:
        """Send another byte of the body. False when the server has closed the connection."""
        if self._socket is None:
            return False
        try:
            if self._head:
                self._socket.send(b"x")
            gone = self._socket.recv(65536) == b""
        except BlockingIOError:
            return True
        except OSError:
            gone = True
        if gone:
            self._socket.close()
            self._socket = None
        return not gone


def visitors(address: tuple[str, int], idle: int, bodies: int, token: str) -> list[Visitor]:
    """All of them, not connected yet."""
    heads = [_HEAD.format(f"Authorization: Bearer {token}\r\n").encode(), _HEAD.format("").encode()]
    return [
        *(Visitor(address, b"") for _ in range(idle)),
        *(Visitor(address, heads[number % 2]) for number in range(bodies)),
    ]


def flood(address: tuple[str, int], idle: int, bodies: int, token: str) -> None:
    """Open them, keep at it until standard input ends."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    everybody = visitors(address, idle, bodies, token)
    for visitor in everybody:
        visitor.open()
    print("all opened", flush=True)
    began = time.monotonic()
    number = 0
    while not select.select([sys.stdin], [], [], max(0.0, began + number - time.monotonic()))[0]:
        number += 1
        closed = [visitor for visitor in everybody if not visitor.go_on()]
        for visitor in closed[:_AGAIN]:
            visitor.open()
    print(sum(visitor.go_on() for visitor in everybody), flush=True)


if __name__ == "__main__":
    host, port, idle, bodies, token = sys.argv[1:]
    flood((host, int(port)), int(idle), int(bodies), token)
