"""The timeline of a test: one line per step, with its time, how long it took and how it ended."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import pytest

from hil.errors import CloudError
from hil.observe import announce, observing, verb
from hil.report.timeline import Timeline

START = 1_700_000_000.0


class Clock:
    """Seconds since 1970 that a test moves on."""

    def __init__(self) -> None:
        self.at = START

    def __call__(self) -> float:
        return self.at


class Calculator:
    actor = "cloud"

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    @verb
    def call(self, function: str, *numbers: int) -> int:
        self.clock.at += 0.25
        if function != "add":
            raise CloudError("no such function", hint="call add")
        return sum(numbers)


def wall(seconds: float) -> str:
    """The time of day in this machine's time zone, in milliseconds."""
    return datetime.fromtimestamp(START + seconds).strftime("%H:%M:%S.%f")[:-3]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def timeline(clock: Clock) -> Iterator[Timeline]:
    with observing(Timeline(clock)) as timeline:
        yield timeline


def test_each_step_is_a_line(clock: Clock, timeline: Timeline) -> None:
    with announce("argon-1", "make ready", "probe@1"):
        Calculator(clock).call("add", 1, 2)
        clock.at += 60
    with pytest.raises(CloudError):
        Calculator(clock).call("divide")
    assert timeline.text().splitlines() == [
        f"{wall(0)}   60.250 s  argon-1 make ready(probe@1)",
        f"{wall(0)}    0.250 s    cloud call(add, 1, 2) = 3",
        f"{wall(60.25)}    0.250 s  cloud call(divide): CloudError: no such function",
    ]


def test_what_goes_on_says_so(clock: Clock, timeline: Timeline) -> None:
    with announce("argon-1", "flash"):
        clock.at += 5
        assert timeline.text() == f"{wall(0)}    goes on  argon-1 flash()\n"
    assert timeline.text() == f"{wall(0)}    5.000 s  argon-1 flash()\n"
