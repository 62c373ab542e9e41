"""The live log of a cloud: one line for each entry, aligned for people or as JSON for machines.

Text from outside (names, data, reasons) never reaches a terminal as it is: what cannot be printed is escaped.
"""

from __future__ import annotations

import itertools
import json
import os
import queue
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TextIO

import click

from hil.cloud.state.activity import Activity, Entry
from hil.cloud.state.happenings import (
    Billed,
    Called,
    Delivered,
    Elsewhere,
    Happening,
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

Render = Callable[[Entry], str]
MOST_BEHIND = 10_000  # entries
_LONGEST = 60  # characters of data, an argument or a value
_WHO, _WHAT, _WORDS = 14, 9, 56  # widths of columns
_ARRIVALS = {"hello": "new session from", "resume": "resumes its session from", "moved": "moved to"}
_FIRST_VITALS = (
    "uptime",
    "free_memory",
    "used_ram",
    "signal_strength_value",
    "rssi",
    "round_trip_ms",
    "battery_charge",
)
_COLOURS = {
    Joined: "green",
    Left: "yellow",
    TurnedAway: "red",
    Elsewhere: "red",
    Trouble: "red",
    Called: "cyan",
    VariableRead: "cyan",
    Published: "blue",
    Delivered: "magenta",
}


def printable(text: str) -> str:
    """``text`` without anything that moves a cursor, breaks a line or turns the direction of writing."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def json_line(entry: Entry) -> str:
    """An entry for machines: one object in one line of ASCII."""
    return json.dumps(entry.as_dict())


def terminal_line(entry: Entry, *, coloured: bool = False) -> str:
    """An entry for people: time, who, what, and at the end of the line what it has cost."""
    clock = f"{time.strftime('%H:%M:%S', time.localtime(entry.at))}.{int(entry.at * 1000) % 1000:03d}"
    who = _clip(printable(entry.device or _stranger(entry)), _WHO).ljust(_WHO)
    what = entry.what.kind.ljust(_WHAT)
    said = _words(entry)
    cost = ", ".join(f"{cost.kind} {cost.count}" for cost in entry.costs)
    if coloured:
        dim = isinstance(entry.what, Noted)
        clock = click.style(clock, dim=True)
        what = click.style(what, fg=_colour(entry.what), dim=dim)
        said_wide = click.style(said.ljust(_WORDS) if cost else said, dim=dim)
        cost = click.style(cost, bold=True) if cost else ""
    else:
        said_wide = said.ljust(_WORDS) if cost else said
    return f"{clock}  {who}  {what}  {said_wide}  {cost}".rstrip()


def renderer(stream: TextIO, *, as_json: bool) -> Render:
    """How entries are written to ``stream``: colours only for a terminal whose user has not set ``NO_COLOR``."""
    if as_json:
        return json_line
    coloured = stream.isatty() and not os.environ.get("NO_COLOR")
    return lambda entry: terminal_line(entry, coloured=coloured)


class Follower:
    """Entries on their way from the cloud's thread to whoever writes them; ``stop`` may be called by a signal.

    ``on_stop`` wakes whoever waits for something else at the moment. A terminal that stands still (Ctrl-S, a full
    pipe) may be ``most`` entries behind; what comes then is not shown, only counted.
    """

    def __init__(self, most: int = MOST_BEHIND) -> None:
        self.stopped = False
        self._most = most
        self._left_out = 0
        self.on_stop: Callable[[], None] = lambda: None
        self._entries: queue.SimpleQueue[Entry | None] = queue.SimpleQueue()

    def stop(self) -> None:
        """No more entries after those that are here."""
        self.stopped = True
        self._entries.put(None)
        self.on_stop()

    @contextmanager
    def listening(self, activity: Activity) -> Iterator[None]:
        """Take the entries of ``activity`` for a ``with`` block."""
        activity.listeners.append(self._take)
        try:
            yield
        finally:
            activity.listeners.remove(self._take)

    def _take(self, entry: Entry) -> None:
        if self._entries.qsize() >= self._most:
            self._left_out += 1
            return
        if self._left_out:
            said = f"{self._left_out} lines are left out here: they came faster than they could be written"
            self._left_out = 0
            self._entries.put(Entry(entry.at, None, "", Noted(said)))
        self._entries.put(entry)

    def __iter__(self) -> Iterator[Entry]:
        while (entry := self._entries.get()) is not None:
            yield entry


def _words(entry: Entry) -> str:
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
    clipped = _clip(text, _LONGEST)
    return '"' + printable(clipped.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def _clip(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _stranger(entry: Entry) -> str:
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


def _colour(what: Happening) -> str | None:
    if isinstance(what, Updated):
        return "red" if what.state == "failed" else "green"
    if isinstance(what, Called | VariableRead) and what.error is not None:
        return "red"
    return _COLOURS.get(type(what))
