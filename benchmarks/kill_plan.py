"""Who is killed, when and how, drawn from a seed: kill ``n`` of a seed is the same whenever it is asked for."""

from __future__ import annotations

import random
from dataclasses import dataclass
from signal import SIGINT, SIGKILL, SIGTERM, Signals

_MOSTLY = 0.7  # share of SIGKILL
MOMENTS = ("run", "power", "flash", "update")
# Seconds from the line ``AT moment`` within which it comes: about once through what is repeated there.
SPAN = {"run": 6.0, "power": 1.5, "flash": 2.0, "update": 2.0}


@dataclass(frozen=True, slots=True)
class Victim:
    """A process that can be killed. ``orderly``: the signals besides SIGKILL that it does not ignore."""

    name: str
    orderly: tuple[Signals, ...] = (SIGTERM, SIGINT)
    moments: tuple[str, ...] = MOMENTS


VICTIMS = (
    Victim("pytest"),
    Victim("pytest, rack stays"),
    Victim("launcher"),
    Victim("rack", (SIGTERM,)),
    Victim("watchdog", (SIGTERM,)),
    Victim("cloud", moments=("run", "power", "update")),  # it has no part in flashing over USB
)


@dataclass(frozen=True, slots=True)
class Plan:
    """One kill. ``after``: seconds from the beginning of the moment; ``board``: the slot that is worked on."""

    number: int
    victim: str
    moment: str
    signal: Signals
    board: str
    after: float

    def __str__(self) -> str:
        return f"{self.victim}, {self.moment}, {self.signal.name}, {self.board}"


def plan(seed: int, number: int, boards: list[str]) -> Plan:
    """Kill ``number`` (from 0). Of as many kills as there are victims, counted from 0, each has one."""
    turn = random.Random(f"{seed}/{number // len(VICTIMS)}").sample(VICTIMS, len(VICTIMS))
    victim = turn[number % len(VICTIMS)]
    dice = random.Random(f"{seed}/{number}/{victim.name}")
    how = SIGKILL if dice.random() < _MOSTLY else dice.choice(victim.orderly)
    moment = dice.choice(victim.moments)
    after = dice.uniform(0.0, SPAN[moment])
    return Plan(number, victim.name, moment, how, dice.choice(boards), round(after, 3))
