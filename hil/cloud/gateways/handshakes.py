"""DTLS handshakes under way: of addresses that have proved to be theirs, so many at once, each so long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hil.clock import LoopClock, Timer
from hil.cloud.gateways.datagrams import Address
from hil.wire.dtls import ServerConnection

MAX_HANDSHAKES = 1000  # under way at once; a proved one holds some 20 KB


@dataclass(frozen=True, slots=True)
class _Handshake:
    connection: ServerConnection
    deadline: Timer


class Handshakes:
    """At most one handshake for each address, and at most ``limit``.

    Beyond that the oldest of the host that has most gives way, so that one host alone cannot keep the others out.
    One that takes longer than ``patience`` seconds is dropped. ``given_up`` is told of both, and why.
    """

    def __init__(
        self,
        clock: LoopClock,
        patience: float,
        given_up: Callable[[Address, str], None],
        limit: int = MAX_HANDSHAKES,
    ) -> None:
        self._clock = clock
        self._patience = patience
        self._given_up = given_up
        self._limit = limit
        self._by_host: dict[str, dict[Address, _Handshake]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def get(self, address: Address) -> ServerConnection | None:
        """The handshake under way with ``address``."""
        found = self._by_host.get(address[0], {}).get(address)
        return None if found is None else found.connection

    def add(self, address: Address, connection: ServerConnection) -> None:
        """Another handshake; it takes the place of one with the same address."""
        self.remove(address)
        if self._count >= self._limit:
            most = max(self._by_host, key=lambda host: len(self._by_host[host]))
            self._give_up(next(iter(self._by_host[most])), "given up for newer ones")
        deadline = self._clock.call_later(self._patience, self._give_up, address, "not finished in time")
        self._by_host.setdefault(address[0], {})[address] = _Handshake(connection, deadline)
        self._count += 1

    def remove(self, address: Address) -> None:
        """The handshake with ``address`` is over, if there is one."""
        of_host = self._by_host.get(address[0], {})
        found = of_host.pop(address, None)
        if found is None:
            return
        found.deadline.cancel()
        self._count -= 1
        if not of_host:
            del self._by_host[address[0]]

    def close(self) -> None:
        """Let go of all of them without a word."""
        for of_host in tuple(self._by_host.values()):
            for address in tuple(of_host):
                self.remove(address)

    def _give_up(self, address: Address, why: str) -> None:
        self.remove(address)
        self._given_up(address, why)
