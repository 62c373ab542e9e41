"""What happens in a cloud, in words: for live logs and for the reports of tests.

Text from outside (names, data, reasons) never reaches a terminal as it is: what cannot be printed is escaped.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping

from hil.cloud.state.activity import Entry
from hil.cloud.state.happenings import (
    Billed,
    Called,
    Delivered,
    Elsewhere,
    Joined,
    Left,
    Measured,
    Noted,
    Published,
    Trouble,
    TurnedAway,
    Updated,
    VariableRead,
)
from hil.printable import printable

_LONGEST = 60  # characters of data, an argument or a value
_FIRST_VITALS = (
    "uptime",
    "free_memory",
    "used_ram",
    "signal_strength_value",
    "rssi",
    "round_trip_ms",
    "battery_charge",
)
_ARRIVALS = {"hello": "new session from", "resume": "resumes its session from", "moved": "moved to"}


def in_words(entry: Entry) -> str:
    """What happened, in one line without who and when."""
    what = entry.what
    match what:
        case Joined(how, address):
            return printable(f"{_ARRIVALS.get(how, how)} {address} ({entry.device_id})")
        case Left(reason):
            return printable(reason)
        case TurnedAway(address, reason, key):
            asked = f" as {entry.device_id}" if entry.device_id else ""
            return printable(f"from {address}{asked}: {reason} (it shows {key})")
        case Called(function, argument, result, error):
            return f"{printable(function)}({_quoted(argument)}) {_became(result, error)}"
        case VariableRead(variable, value, error):
            return f"{printable(variable)} {_became(value, error)}"
        case Published(event, data, size, repeated):
            again = "  again: it did not hear that it had arrived" if repeated else ""
            return f"{printable(event)}{_data(data, size)}{again}"
        case Delivered(event, data, size, attempt):
            again = f"  attempt {attempt}" if attempt > 1 else ""
            return f"{printable(event)}{_data(data, size)}{again}"
        case Updated():
            return _progress(what)
        case Elsewhere(host, command):
            return printable(f"dials {host}, not this cloud; point it here: {command}")
        case Billed(cause):
            return printable(cause)
        case Measured(values):
            return _vitals(values)
        case Noted(text) | Trouble(text):
            return printable(text)


def _vitals(values: Mapping[str, int | None]) -> str:
    """What people look at first, and how many others there are; the whole of it is in the event and with --json."""
    first = {name: values[name] for name in _FIRST_VITALS if name in values}
    shown = first or dict(itertools.islice(values.items(), len(_FIRST_VITALS)))
    said = [f"{name} {'failed' if value is None else value}" for name, value in shown.items()]
    if more := len(values) - len(shown):
        said.append(f"{more} more")
    return printable(", ".join(said) or "none")


def _progress(what: Updated) -> str:
    percent = what.sent * 100 // what.size if what.size else 0
    match what.state:
        case "started":
            return printable(f"started: {what.detail}, {what.size} bytes")
        case "sent":
            return f"all {what.size} bytes are there; it restarts to apply them"
        case "failed":
            return printable(f"failed after {what.sent} of {what.size} bytes: {what.detail}")
        case _:
            return f"{percent:3} %  {what.sent} of {what.size} bytes"


def _became(value: object, error: str | None) -> str:
    if error is not None:
        return f"failed: {printable(error)}"
    return f"= {_quoted(value) if isinstance(value, str) else json.dumps(value)}"


def _data(data: str, size: int) -> str:
    if not data:
        return ""
    return f" {_quoted(data)}" + (f" ({size} bytes)" if len(data) > _LONGEST else "")


def _quoted(text: str) -> str:
    """Text in quotation marks, clipped, so that no data can pass for another part of the line."""
    clipped = clip(text, _LONGEST)
    return '"' + printable(clipped.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def clip(text: str, longest: int) -> str:
    """``text``, cut to ``longest`` characters."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def stranger(entry: Entry) -> str:
    """Who it was when it was no device that the cloud knows by name."""
    match entry.what:
        case TurnedAway():
            return "stranger"
        case Published():
            return "api"
        case Trouble():
            return "cloud"
        case _:
            return entry.device_id or "-"
