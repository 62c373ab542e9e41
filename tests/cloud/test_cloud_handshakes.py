"""The pool of proved handshakes: who gives way when there are too many, and what becomes of the timers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hil.clock import LoopClock
from hil.cloud.gateways.datagrams import Address
from hil.cloud.gateways.handshakes import Handshakes
from hil.device import keys
from hil.wire.dtls import ServerConnection
from tests.clock.standing import standing_clock

KEY = keys.generate_server_ec()


def connection() -> ServerConnection:
    return ServerConnection(KEY, cid=bytes(8), accept_key=lambda _spki: True)


def in_pool(
    steps: Callable[[Handshakes], object], *, limit: int = 5
) -> tuple[list[tuple[Address, str]], int]:
    """What a pool gives up during ``steps``, and how many timers were left to fire in the 135 s after it."""
    clock = standing_clock()
    given_up: list[tuple[Address, str]] = []

    async def run(on_loop: LoopClock) -> None:
        steps(Handshakes(on_loop, 135.0, lambda address, why: given_up.append((address, why)), limit))

    async def main() -> int:
        await run(clock.on_loop())
        seen = len(given_up)
        await asyncio.to_thread(clock.advance, 136.0)
        return len(given_up) - seen

    fired = asyncio.run(main())
    return given_up, fired


def test_the_host_with_most_handshakes_gives_way() -> None:
    """Issue 6, point 1: one host with many proved addresses does not keep the others out."""

    def steps(pool: Handshakes) -> None:
        pool.add(("192.0.2.1", 1), connection())
        for port in range(10, 20):
            pool.add(("192.0.2.66", port), connection())
        pool.add(("192.0.2.2", 1), connection())
        assert len(pool) == 5
        assert pool.get(("192.0.2.1", 1)) is not None
        assert pool.get(("192.0.2.2", 1)) is not None
        assert pool.get(("192.0.2.66", 19)) is not None

    given_up, later = in_pool(steps)
    assert given_up[:7] == [(("192.0.2.66", port), "given up for newer ones") for port in range(10, 17)]
    assert later == 5
    assert {why for _, why in given_up[7:]} == {"not finished in time"}


def test_handshakes_that_are_over_leave_no_timer() -> None:
    """Issue 6, point 1: timers of evicted handshakes lived on for 135 s."""
    address = ("192.0.2.1", 1)

    def steps(pool: Handshakes) -> None:
        for _ in range(10):
            pool.add(address, connection())
        pool.remove(address)
        pool.remove(address)
        pool.add(address, connection())
        pool.close()
        assert (len(pool), pool.get(address)) == (0, None)

    assert in_pool(steps) == ([], 0)
