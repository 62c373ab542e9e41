"""Rules about names: device ids, event names, and which names belong to the system.

Facts: cloud API fact sheet 4.1 (names that cost nothing) and 6 (lengths), protocol fact sheet 3.8.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Protocol

from hil.errors import Refused, UsageError
from hil.printable import printable
from hil.wire.messages import MAX_TTL

MAX_EVENT_NAME = 64  # bytes
MAX_EVENT_DATA = 1024  # bytes
_NOT_IN_NAMES = frozenset(
    {"Cc", "Cs", "Zl", "Zp"}
)  # Unicode's categories: control, surrogate, two separators
_SHOWN = 200  # characters of what was refused
_DEVICE_ID = re.compile(r"[0-9a-f]{24}\Z")
_SYSTEM_PREFIXES = ("particle", "spark")

# Events that act on the device itself: never passed from one device to another.
_DEVICE_INTERNAL = ("spark/device/", "particle/device/")
# Makes a device forget this cloud and go back to Particle's own.
FORBIDDEN_TO_DEVICES = "spark/device/key/restore"


class HasDeviceId(Protocol):
    """Anything that stands for a device: a board, a view."""

    @property
    def device_id(self) -> str: ...


DeviceRef = str | HasDeviceId


def device_id_of(device: DeviceRef) -> str:
    """The 24 hex digits that ``device`` (an id or an object with ``device_id``) stands for, in lower case."""
    text = device if isinstance(device, str) else device.device_id
    lowered = text.lower()
    if not is_device_id(lowered):
        raise UsageError("not a device id", expected="24 hex digits", found=repr(text))
    return lowered


def is_device_id(text: str) -> bool:
    """Whether ``text`` is 24 lower-case hex digits."""
    return _DEVICE_ID.match(text) is not None


def is_system_event(name: str, *, ignore_case: bool = False) -> bool:
    """Whether an event name belongs to the system and costs nothing."""
    return (name.lower() if ignore_case else name).startswith(_SYSTEM_PREFIXES)


def device_request(name: str) -> str | None:
    """What a device asks about itself with an event of this name: ``name``, ``ip`` or ``random``."""
    prefix, _, what = name.rpartition("/")
    asked = prefix in ("spark/device", "particle/device") and what in ("name", "ip", "random")
    return what if asked else None


def subscription_matches(prefix: str, name: str) -> bool:
    """Whether an ordinary delivery of ``name`` goes to a device that subscribed to ``prefix``.

    Every device subscribes to the bare system prefixes for itself; only a longer prefix is an application's
    wish to see system events of others, and what acts on a device is not passed on at all.
    """
    if not name.startswith(prefix):
        return False
    if not is_system_event(name):
        return True
    return prefix not in (*_SYSTEM_PREFIXES, "") and not name.startswith(_DEVICE_INTERNAL)


def checked_name(name: str) -> str:
    """``name`` if an event may have it, from a device or from the API. Raises ``Refused``.

    What ends a line, moves a cursor or ends a string (control characters, U+2028, U+2029, halves of surrogate pairs)
    is in no name: an event stream and a log have one line for it.
    """
    if not name or len(name.encode("utf-8", "replace")) > MAX_EVENT_NAME:
        raise Refused("not an event name", expected=f"1 to {MAX_EVENT_NAME} bytes", found=repr(name)[:_SHOWN])
    if not name.isprintable() and any(unicodedata.category(one) in _NOT_IN_NAMES for one in name):
        raise Refused("not an event name", expected="no control character", found=repr(name)[:_SHOWN])
    return name


def in_one_line(name: str) -> str:
    """``name``, of an event that an earlier release stored, without what :func:`checked_name` refuses today."""
    if name.isprintable():
        return name
    return "".join(printable(one) if unicodedata.category(one) in _NOT_IN_NAMES else one for one in name)


def checked_event(name: str, data: bytes, ttl: int = 60) -> None:
    """Raise ``Refused`` when the API may not publish this (cloud API fact sheet 6). ``ttl`` in seconds."""
    checked_name(name)
    if any(one.isspace() or not one.isprintable() for one in name):
        raise Refused(
            "not an event name", expected="no spaces, line breaks or control characters", found=repr(name)
        )
    if not 0 <= ttl <= MAX_TTL:
        found = str(ttl) if abs(ttl) <= 1 << 64 else "a far larger number"
        raise Refused("not a ttl", expected=f"0 to {MAX_TTL} seconds", found=found)
    if len(data) > MAX_EVENT_DATA:
        raise Refused("event data too long", expected=f"at most {MAX_EVENT_DATA} bytes", found=str(len(data)))
    if name.startswith(FORBIDDEN_TO_DEVICES):
        raise Refused(f"{name} would send devices back to Particle's own cloud")
