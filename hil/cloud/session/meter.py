"""What a session tells about things that may cost something: all that it knows of billing.

Whoever counts is a :class:`Meter`. Its row belongs into the transaction of its cause, so that what a device is
told and what its owner is charged are stored together or not at all (cloud API fact sheet 4.1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Protocol

from hil.cloud.state.activity import Cost


class Action(Enum):
    """What can happen between a device and the cloud."""

    PUBLISH = auto()  # a device's event reached the cloud
    PUBLISH_AGAIN = auto()  # the same event once more: its acknowledgement was lost
    DELIVERY = auto()  # one attempt to bring an event to a subscribed device
    FUNCTION = auto()  # one attempt to call a function
    VARIABLE = auto()  # one attempt to read a variable
    STORED_POINT = auto()
    REGISTRATION = auto()  # a function, variable or subscription made known
    SESSION = auto()  # handshake, resume, Hello, goodbye
    KEEP_ALIVE = auto()
    TIME = auto()
    DESCRIBE = auto()
    UPDATE = auto()
    API_CALL = auto()


class Bill:
    """What one thing has cost so far, for the line that tells of it.

    A retry may come when that line is written already: its cause and cost go to ``late``.
    """

    def __init__(self, late: Callable[[str, Cost], None] = lambda _cause, _cost: None) -> None:
        self._late = late
        self._costs: list[Cost] = []
        self._settled = False

    def add(self, cause: str, cost: Cost) -> None:
        """Whoever counts has written a row."""
        if self._settled:
            self._late(cause, cost)
            return
        same = next((one for one in self._costs if one.kind == cost.kind), None)
        if same is not None:
            self._costs.remove(same)
            cost = Cost(cost.kind, same.count + cost.count)
        self._costs.append(cost)

    def settle(self) -> tuple[Cost, ...]:
        """What it has cost, by kind; what comes from now on is late."""
        self._settled = True
        return tuple(self._costs)


@dataclass(frozen=True, slots=True)
class Charge:
    """What happened, as the caller knows it. ``size`` in bytes of data, ``system_version`` of the device.

    Whoever counts puts what it costs on ``bill``.
    """

    action: Action
    device_id: str | None
    owner: str | None
    cause: str
    event_name: str | None = None
    size: int = 0
    system_version: int | None = None
    bill: Bill = field(default_factory=Bill, compare=False, repr=False)


class Meter(Protocol):
    """Somebody who counts what happens and may forbid it."""

    def allowed(self, charge: Charge) -> bool:
        """Whether it may happen; asked before it does."""

    def record(self, charge: Charge) -> None:
        """It happens: count it. Called inside the transaction of its cause."""


class Meters:
    """All meters of one cloud as one. Without any, everything may happen and nothing is counted."""

    def __init__(self) -> None:
        self._meters: list[Meter] = []

    def add(self, meter: Meter) -> None:
        """From now on ``meter`` is asked and told too."""
        self._meters.append(meter)

    def allowed(self, charge: Charge) -> bool:
        """Whether no meter forbids it."""
        return all(meter.allowed(charge) for meter in self._meters)

    def record(self, charge: Charge) -> None:
        """Tell every meter."""
        for meter in self._meters:
            meter.record(charge)
