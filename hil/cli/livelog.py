"""The live log of a cloud: one line for each entry, aligned for people or as JSON for machines.

Text from outside (names, data, reasons) never reaches a terminal as it is: what cannot be printed is escaped.
"""

from __future__ import annotations

import json
import os
import queue
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

import click

from hil.cloud.state.activity import Activity, Entry
from hil.cloud.state.happenings import (
    Called,
    Delivered,
    Elsewhere,
    Happening,
    Joined,
    Left,
    Noted,
    Published,
    Trouble,
    TurnedAway,
    Updated,
    VariableRead,
)
from hil.cloud.sync.words import clip, in_words, stranger
from hil.printable import printable

Render = Callable[[Entry], str]
MOST_BEHIND = 10_000  # entries
_WHO, _WHAT, _WORDS = 14, 9, 56  # widths of columns
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


def json_line(entry: Entry) -> str:
    """An entry for machines: one object in one line of ASCII."""
    return json.dumps(entry.as_dict())


def terminal_line(entry: Entry, *, coloured: bool = False) -> str:
    """An entry for people: time, who, what, and at the end of the line what it has cost."""
    clock = f"{time.strftime('%H:%M:%S', time.localtime(entry.at))}.{int(entry.at * 1000) % 1000:03d}"
    who = clip(printable(entry.device or stranger(entry)), _WHO).ljust(_WHO)
    what = entry.what.kind.ljust(_WHAT)
    said = in_words(entry)
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


def _colour(what: Happening) -> str | None:
    if isinstance(what, Updated):
        return "red" if what.state == "failed" else "green"
    if isinstance(what, Called | VariableRead) and what.error is not None:
        return "red"
    return _COLOURS.get(type(what))
