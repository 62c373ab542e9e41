"""The language of a clock's control socket: one JSON object a line, each checked field by field.

What a client asks of the leader, and its answers::

    {"do": "show"}                          {"ok": true, "time": 1767225600.0, "stands": false, "followers": ["..."]}
    {"do": "advance", "seconds": 90.0}      {"ok": true, "time": ..., "fired": 12, "lost": []}
    {"do": "follow", "name": "hil (process 42)"}    {"ok": true, "shift": 0.0, "held": null, "wall": 1767220000.0}

After ``follow`` the connection turns round, and the leader gives orders to the follower::

    {"do": "hold"}                          {"ok": true, "at": 5600.0}
    {"do": "step", "at": 5700.0}            {"ok": true, "changes": 7, "due": 5710.0, "fired": 1, "alone": false}
    {"do": "run", "shift": 90.0}            {"ok": true}

``shift`` is how far the clock is ahead of ``time.monotonic()``, which the processes of a machine share. Moments
(``at``, ``due``, ``held``) are in monotonic seconds, ``time`` in seconds since 1970. What is wrong is answered by
``{"ok": false, "what": ..., "expected": ..., "found": ..., "hint": ...}``.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass

from hil.clock.movable import Reading
from hil.clock.parts import Advanced, Report
from hil.clock.types import ClockError
from hil.controlsocket import Fields, parse_object, parse_words, shown
from hil.errors import WireError

MAX_LINE = 64 * 1024
MAX_ADVANCE = 10 * 366 * 86400.0  # seconds: ten years
MAX_NAME = 100
_EVER = 1e12  # seconds: more than any clock shows
_COUNT = 1 << 53


@dataclass(frozen=True, slots=True)
class Show:
    """How does the clock stand?"""


@dataclass(frozen=True, slots=True)
class Advance:
    """Go forward."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Follow:
    """This connection's process follows from now on; ``name`` is what it is called in errors."""

    name: str


@dataclass(frozen=True, slots=True)
class Hold:
    """Stand still."""


@dataclass(frozen=True, slots=True)
class Step:
    """Stand at the moment ``at`` and do what is due."""

    at: float


@dataclass(frozen=True, slots=True)
class Run:
    """Go on at real pace, ``shift`` seconds ahead of ``time.monotonic()``."""

    shift: float


@dataclass(frozen=True, slots=True)
class Shown:
    """A clock as it is shown. ``time`` in seconds since 1970."""

    time: float
    stands: bool
    followers: tuple[str, ...]


Request = Show | Advance | Follow
Order = Hold | Step | Run

_REQUESTS: dict[str, tuple[str, ...]] = {"show": (), "advance": ("seconds",), "follow": ("name",)}
_ORDERS: dict[str, tuple[str, ...]] = {"hold": (), "step": ("at",), "run": ("shift",)}


def encode(message: Request | Order) -> bytes:
    """The line of a request or an order."""
    return line(do=type(message).__name__.lower(), **asdict(message))


def line(**fields: object) -> bytes:
    """One line of the language."""
    return json.dumps(fields).encode() + b"\n"


def parse_request(data: bytes) -> Request:
    """What a client asks. Raises ``WireError`` that says which field is wrong."""
    name, fields = parse_words(data, _REQUESTS)
    if name == "advance":
        seconds = _number(fields, "seconds", 0.0, MAX_ADVANCE)
        if seconds == 0:
            raise WireError("wrong seconds", expected="more than 0", found="0")
        return Advance(seconds)
    return Follow(_name(fields)) if name == "follow" else Show()


def parse_order(data: bytes) -> Order:
    """What the leader orders. Raises ``WireError`` that says which field is wrong."""
    name, fields = parse_words(data, _ORDERS)
    if name == "hold":
        return Hold()
    if name == "step":
        return Step(_number(fields, "at", 0.0, _EVER))
    return Run(_number(fields, "shift", -_EVER, _EVER))


def parse_answer(data: bytes) -> Fields:
    """A good answer. Raises the ``ClockError`` that a bad one tells, ``WireError`` for one that is no answer."""
    fields = parse_object(data)
    if fields.get("ok") is True:
        return fields
    texts = {name: fields.get(name) for name in ("what", "expected", "found", "hint")}
    if fields.get("ok") is not False or not all(isinstance(text, str) for text in texts.values()):
        raise WireError("not an answer", expected="ok, and for false what is wrong", found=shown(fields))
    raise ClockError(str(texts.pop("what")), **{name: str(text) for name, text in texts.items()})


def reading_of(fields: Fields) -> Reading:
    """How the leader's clock stands, from its answer to ``follow``. Raises ``WireError``."""
    held = None if fields.get("held") is None else _number(fields, "held", 0.0, _EVER)
    return Reading(_number(fields, "shift", -_EVER, _EVER), held, _number(fields, "wall", -_EVER, _EVER))


def moment_of(fields: Fields) -> float:
    """Where a follower stands, from its answer to ``hold``. Raises ``WireError``."""
    return _number(fields, "at", 0.0, _EVER)


def report_of(fields: Fields) -> Report:
    """A follower's answer to ``step``. Raises ``WireError``."""
    due = None if fields.get("due") is None else _number(fields, "due", -_EVER, _EVER)
    return Report(_count(fields, "changes"), due, _count(fields, "fired"), _flag(fields, "alone"))


def advanced_of(fields: Fields) -> Advanced:
    """What an advance did. Raises ``WireError``."""
    return Advanced(_count(fields, "fired"), _texts(fields, "lost"))


def shown_of(fields: Fields) -> Shown:
    """How the clock stands. Raises ``WireError``."""
    return Shown(_number(fields, "time", -_EVER, _EVER), _flag(fields, "stands"), _texts(fields, "followers"))


def _number(fields: Fields, name: str, low: float, high: float) -> float:
    value = fields.get(name)
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not low <= value <= high
        or not math.isfinite(value)
    ):
        raise WireError(f"wrong {name}", expected=f"a number from {low:g} to {high:g}", found=shown(value))
    return float(value)


def _count(fields: Fields, name: str) -> int:
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _COUNT:
        raise WireError(f"wrong {name}", expected="a whole number", found=shown(value))
    return value


def _flag(fields: Fields, name: str) -> bool:
    value = fields.get(name)
    if not isinstance(value, bool):
        raise WireError(f"wrong {name}", expected="true or false", found=shown(value))
    return value


def _texts(fields: Fields, name: str) -> tuple[str, ...]:
    value = fields.get(name)
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise WireError(f"wrong {name}", expected="a list of texts", found=shown(value))
    return tuple(value)


def _name(fields: Fields) -> str:
    value = fields.get("name")
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME or not value.isprintable():
        raise WireError("wrong name", expected=f"1 to {MAX_NAME} printable characters", found=shown(value))
    return value
