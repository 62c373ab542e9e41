"""What a session tells about things that may cost something: all that it knows of billing.

Whoever counts is a :class:`Meter`. Its row belongs into the transaction of its cause, so that what a device is
told and what its owner is charged are stored together or not at all (cloud API fact sheet 4.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol


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


@dataclass(frozen=True, slots=True)
class Charge:
    """What happened, as the caller knows it. ``size`` in bytes of data, ``system_version`` of the device."""

    action: Action
    device_id: str | None
    owner: str | None
    cause: str
    event_name: str | None = None
    size: int = 0
    system_version: int | None = None


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
