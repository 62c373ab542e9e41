"""What can happen in a cloud, as a person or a program that follows it wants to be told.

Text is as it came from outside: whoever shows it on a terminal must escape it. ``error`` says in words why there is
no result. Sizes are in bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

Value = bool | int | float | str


@dataclass(frozen=True, slots=True)
class Joined:
    """A device is online. ``how``: ``hello`` (a new session), ``resume``, ``moved`` (from another address)."""

    kind: ClassVar[str] = "online"
    how: str
    address: str


@dataclass(frozen=True, slots=True)
class Left:
    """A device is offline."""

    kind: ClassVar[str] = "offline"
    reason: str


@dataclass(frozen=True, slots=True)
class TurnedAway:
    """A peer was not let in; ``key`` is the fingerprint of what it showed."""

    kind: ClassVar[str] = "refused"
    address: str
    reason: str
    key: str


@dataclass(frozen=True, slots=True)
class Called:
    """A function call is over."""

    kind: ClassVar[str] = "call"
    function: str
    argument: str
    result: int | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class VariableRead:
    """A read of a variable is over."""

    kind: ClassVar[str] = "read"
    variable: str
    value: Value | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Published:
    """An event came from a device, or from the API. ``repeated``: the device did not hear that it had arrived."""

    kind: ClassVar[str] = "publish"
    event: str
    data: str
    size: int
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Delivered:
    """An event was sent to a device; ``attempt`` counts from 1."""

    kind: ClassVar[str] = "deliver"
    event: str
    data: str
    size: int
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Updated:
    """An update over the air goes on. ``state``: ``started``, ``sending``, ``sent`` or ``failed``.

    ``sent`` of ``size`` bytes are over; ``detail`` says what is sent, or why it failed.
    """

    kind: ClassVar[str] = "update"
    state: str
    sent: int
    size: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A device dials another cloud; ``command`` points it here."""

    kind: ClassVar[str] = "elsewhere"
    host: str
    command: str


@dataclass(frozen=True, slots=True)
class Billed:
    """Something cost more after its line was written: another attempt at ``cause``."""

    kind: ClassVar[str] = "cost"
    cause: str


@dataclass(frozen=True, slots=True)
class Measured:
    """A device told its vitals: values by name (protocol fact sheet 3.3), ``None`` where a source failed."""

    kind: ClassVar[str] = "vitals"
    values: Mapping[str, int | None]


@dataclass(frozen=True, slots=True)
class Noted:
    """A line of a device's log that is none of the others."""

    kind: ClassVar[str] = "note"
    text: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something is wrong with the cloud itself, or is right again."""

    kind: ClassVar[str] = "trouble"
    text: str


Happening = (
    Joined
    | Left
    | TurnedAway
    | Called
    | VariableRead
    | Published
    | Delivered
    | Updated
    | Elsewhere
    | Billed
    | Measured
    | Noted
    | Trouble
)
