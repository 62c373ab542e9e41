"""Clocks on event loops: timers, sleeps and timeouts of coroutines follow an advance made on another thread."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

from hil.clock import ClockError, LoopClock, MovableClock, SystemClock
from hil.cloud.sync.background import BackgroundLoop
from tests.clock.standing import standing_clock


@pytest.fixture
def loop() -> Iterator[BackgroundLoop]:
    loop = BackgroundLoop("test")
    yield loop
    loop.close()


@pytest.fixture
def clock() -> MovableClock:
    return standing_clock()


def started(loop: BackgroundLoop, work: Coroutine[Any, Any, Any]) -> Any:
    """``work`` under way: it has come to its first wait."""
    running = loop.submit(work)
    for _ in range(5):
        loop.run(asyncio.sleep(0))
    return running


def test_a_sleep_ends_when_it_is_due_and_not_before(loop: BackgroundLoop, clock: MovableClock) -> None:
    sleeping = started(loop, clock.on_loop().sleep(86_400.0))
    clock.advance(86_399.0)
    assert not sleeping.done()
    clock.advance(1.0)
    sleeping.result(10.0)


def test_a_coroutine_that_sleeps_again_and_again_sees_every_one_of_its_times(
    loop: BackgroundLoop, clock: MovableClock
) -> None:
    times, began = clock.on_loop(), clock.monotonic()
    seen: list[float] = []

    async def beat() -> None:
        for _ in range(5):
            await times.sleep(15.0)
            seen.append(times.monotonic() - began)

    beating = started(loop, beat())
    clock.advance(60.0)
    assert seen == [15.0, 30.0, 45.0, 60.0]
    clock.advance(15.0)
    beating.result(10.0)


def test_a_timeout_ends_what_takes_too_long(loop: BackgroundLoop, clock: MovableClock) -> None:
    async def wait() -> None:
        async with clock.on_loop().timeout(20.0):
            await asyncio.Event().wait()

    waiting = started(loop, wait())
    clock.advance(20.0)
    with pytest.raises(TimeoutError):
        waiting.result(10.0)


@pytest.mark.parametrize("delay", [20.0, None])
def test_a_timeout_that_is_over_or_endless_harms_nothing(
    loop: BackgroundLoop, clock: MovableClock, delay: float | None
) -> None:
    async def wait() -> str:
        async with clock.on_loop().timeout(delay):
            await asyncio.sleep(0)
        await clock.on_loop().sleep(100.0)
        return "done"

    waiting = started(loop, wait())
    clock.advance(100.0)
    assert waiting.result(10.0) == "done"


def test_a_timer_cancelled_on_its_loop_never_calls(loop: BackgroundLoop, clock: MovableClock) -> None:
    calls: list[str] = []

    async def arm() -> None:
        times = clock.on_loop()
        gone = times.call_later(5.0, calls.append, "gone")
        times.call_later(5.0, calls.append, "stays")
        gone.cancel()

    loop.run(arm())
    clock.advance(5.0)
    assert calls == ["stays"]


def test_two_loops_that_talk_over_a_socket_come_to_rest_before_time_goes_on(clock: MovableClock) -> None:
    """As board and cloud do: the answer to what a timer sends is there while the clock still stands at that timer."""
    ours, theirs = socket.socketpair()
    loops = [BackgroundLoop("asks"), BackgroundLoop("answers")]
    times = clock.on_loop()
    began = clock.monotonic()
    answers: list[float] = []

    async def answer() -> None:
        theirs.setblocking(False)
        running = asyncio.get_running_loop()
        while await running.sock_recv(theirs, 1):
            times.call_later(1000.0, lambda: None)  # as a session that watches for silence does
            await running.sock_sendall(theirs, b"a")

    async def ask() -> None:
        ours.setblocking(False)
        for _ in range(3):
            await times.sleep(10.0)
            await asyncio.get_running_loop().sock_sendall(ours, b"q")
            await asyncio.get_running_loop().sock_recv(ours, 1)
            answers.append(times.monotonic() - began)

    started(loops[1], answer())
    asking = started(loops[0], ask())
    clock.advance(35.0)
    asking.result(10.0)
    assert answers == [10.0, 20.0, 30.0]
    ours.close()
    for loop in loops:
        loop.close()
    theirs.close()


def test_a_loop_cannot_move_the_clock_that_moves_it(loop: BackgroundLoop, clock: MovableClock) -> None:
    async def move() -> None:
        clock.on_loop().call_later(100.0, lambda: None)
        clock.advance(1.0)

    with pytest.raises(ClockError, match="cannot move it"):
        loop.run(move())


def test_a_loop_that_has_ended_holds_nothing_up(clock: MovableClock) -> None:
    loop = BackgroundLoop("short")
    calls: list[int] = []

    async def arm() -> None:
        clock.on_loop().call_later(5.0, calls.append, 1)

    loop.run(arm())
    loop.close()
    clock.advance(10.0)
    assert calls == []


@pytest.mark.parametrize(
    "times", [SystemClock().on_loop(), MovableClock().on_loop()], ids=["system", "movable"]
)
def test_at_real_pace_both_clocks_do_the_same(times: LoopClock) -> None:
    async def work() -> list[str]:
        seen: list[str] = []
        times.call_at(times.monotonic() + 0.01, seen.append, "timer")
        times.call_later(0.005, seen.append, "cancelled").cancel()
        await times.sleep(0.02)
        try:
            async with times.timeout(0.01):
                await asyncio.Event().wait()
        except TimeoutError:
            seen.append("timeout")
        return seen

    assert asyncio.run(work()) == ["timer", "timeout"]
