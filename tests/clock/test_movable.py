"""A movable clock on its own: what fires, in which order, and what it sees."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.clock import Clock, ClockError, MovableClock, SystemClock, Timer
from tests.clock.standing import standing_clock


@pytest.fixture
def clock() -> MovableClock:
    return standing_clock()


def test_a_standing_clock_moves_by_exactly_what_it_is_told(clock: MovableClock) -> None:
    monotonic, wall = clock.monotonic(), clock.time()
    clock.advance(90.0)
    assert clock.monotonic() == monotonic + 90.0
    assert clock.time() == pytest.approx(wall + 90.0, abs=1e-6)
    assert clock.monotonic() == monotonic + 90.0


def test_wall_time_starts_as_the_systems() -> None:
    before = time.time()
    clock = MovableClock()
    assert before - 1.0 <= clock.time() <= time.time() + 1.0


def test_a_running_clock_goes_on_at_real_pace_from_where_it_was_taken() -> None:
    clock = MovableClock()
    began = clock.monotonic()
    clock.advance(3600.0)
    later = clock.monotonic()
    assert 3600.0 <= later - began < 3700.0
    while clock.monotonic() == later:
        pass  # only a clock that stands stays here
    assert clock.monotonic() > later


def test_a_timer_sees_its_own_due_time(clock: MovableClock) -> None:
    began = clock.monotonic()
    seen: list[float] = []
    for delay in (120.0, 5.0, 60.0):
        clock.call_later(delay, lambda: seen.append(clock.monotonic() - began))
    assert clock.advance(60.0).fired == 2
    assert seen == [5.0, 60.0]
    clock.advance(100.0)
    assert seen == [5.0, 60.0, 120.0]


@given(st.lists(st.integers(0, 50), min_size=1, max_size=40), st.data())
def test_random_timers_fire_in_the_order_of_their_due_times_then_of_their_arming(
    delays: list[int], data: st.DataObject
) -> None:
    clock = standing_clock()
    fired: list[int] = []
    timers: list[Timer] = [
        clock.call_later(float(delay), lambda number=number: fired.append(number))  # type: ignore[misc]
        for number, delay in enumerate(delays)
    ]
    gone = data.draw(st.sets(st.sampled_from(range(len(delays)))))
    for number in gone:
        timers[number].cancel()
    reach = data.draw(st.integers(1, 60))
    clock.advance(float(reach))
    due = [number for number, delay in enumerate(delays) if delay <= reach and number not in gone]
    assert fired == sorted(due, key=lambda number: delays[number])


def test_what_a_timer_arms_on_the_way_fires_on_the_same_way(clock: MovableClock) -> None:
    began = clock.monotonic()
    pings: list[float] = []

    def ping() -> None:
        pings.append(clock.monotonic() - began)
        clock.call_later(23 * 60.0, ping)

    clock.call_later(23 * 60.0, ping)
    clock.advance(3600.0)
    assert pings == [1380.0, 2760.0]


def test_a_timer_can_cancel_another_one_that_is_due_with_it(clock: MovableClock) -> None:
    fired: list[str] = []
    later: list[Timer] = []
    clock.call_later(1.0, lambda: later[0].cancel())
    later.append(clock.call_later(1.0, lambda: fired.append("cancelled")))
    clock.call_later(1.0, lambda: fired.append("last"))
    clock.advance(2.0)
    assert fired == ["last"]


def test_cancelling_most_timers_leaves_the_others_alone(clock: MovableClock) -> None:
    fired: list[int] = []
    timers = [clock.call_later(1.0, lambda n=number: fired.append(n)) for number in range(1000)]  # type: ignore[misc]
    for number, timer in enumerate(timers):
        if number % 100:
            timer.cancel()
    clock.advance(1.0)
    assert fired == list(range(0, 1000, 100))


def test_a_timer_that_arms_itself_without_a_delay_is_an_error_not_an_endless_loop(
    clock: MovableClock,
) -> None:
    def again() -> None:
        clock.call_later(0.0, again)

    clock.call_later(1.0, again)
    with pytest.raises(ClockError, match="needs a delay"):
        clock.advance(2.0)


def test_a_callback_that_fails_keeps_no_other_from_firing(
    clock: MovableClock, caplog: pytest.LogCaptureFixture
) -> None:
    fired: list[str] = []
    clock.call_later(1.0, lambda: 1 / 0)
    clock.call_later(2.0, lambda: fired.append("after"))
    clock.advance(3.0)
    assert fired == ["after"]
    assert "a timer's callback failed" in caplog.text


def test_a_callback_cannot_move_the_clock_that_waits_for_it(clock: MovableClock) -> None:
    refused: list[str] = []

    def move() -> None:
        try:
            clock.advance(1.0)
        except ClockError as error:
            refused.append(error.what)

    clock.call_later(1.0, move)
    clock.advance(2.0)
    assert refused == ["a timer's callback cannot move the clock"]


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_a_clock_only_goes_forward(clock: MovableClock, seconds: float) -> None:
    began = clock.monotonic()
    with pytest.raises(ClockError, match="only goes forward"):
        clock.advance(seconds)
    assert clock.monotonic() == began


@pytest.mark.parametrize("clock", [SystemClock(), MovableClock()], ids=["system", "movable"])
def test_timers_fire_at_real_pace_too(clock: Clock) -> None:
    fired = threading.Event()
    due = clock.monotonic() + 0.01
    clock.call_at(due, fired.set)
    assert fired.wait(10.0)
    assert clock.monotonic() >= due


def test_a_thread_that_waits_by_the_clock_is_woken_by_an_advance(clock: MovableClock) -> None:
    condition = threading.Condition()
    waits, woken = threading.Event(), threading.Event()

    def work() -> None:
        with condition:
            waits.set()
            clock.wait(condition, 600.0)
        woken.set()

    threading.Thread(target=work, daemon=True).start()
    assert waits.wait(10.0)
    with condition:
        pass  # the thread has let go of it: it waits
    clock.advance(599.0)
    assert not woken.is_set()
    clock.advance(1.0)
    assert woken.wait(10.0)


def test_a_thread_that_waits_by_the_clock_is_woken_by_a_notification(clock: MovableClock) -> None:
    condition = threading.Condition()
    waits, woken = threading.Event(), threading.Event()

    def work() -> None:
        with condition:
            waits.set()
            clock.wait(condition, None)
        woken.set()

    threading.Thread(target=work, daemon=True).start()
    assert waits.wait(10.0)
    with condition:
        condition.notify()
    assert woken.wait(10.0)
