"""udevd's part: some time after the kernel's event database and links are there, then udev's own event goes out.

A real one needs 0.05 s until a board is through and 0.17 s when one leaves (real kernel fact sheet 1, row 6). What it
says of a device that lost its driver: what rules set on every event stays, the rest is gone (row 4 there).
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from hil.virtual.kernel.enumerated import Step
from hil.virtual.kernel.timing import AT_ONCE, Timing
from hil.virtual.kernel.uevents import Uevent
from hil.virtual.kernel.usbnodes import Node

_log = logging.getLogger(__name__)


class Database(Protocol):
    """Where udevd keeps what it knows (``udevdb``)."""

    def write(self, node: Node, properties: Mapping[str, str], *, current: bool) -> None: ...

    def forget(self, node: Node) -> None: ...

    def busy(self, is_busy: bool) -> None: ...


@dataclass(frozen=True, slots=True)
class _Known:
    """What the last event of a device left."""

    properties: Mapping[str, str]
    current: bool


class Udevd:
    """Takes the kernel's numbered events; ``send`` multicasts udev's."""

    def __init__(self, database: Database, send: Callable[[Uevent, int], None]) -> None:
        self._database = database
        self._send = send
        self._timing = AT_ONCE
        self._known: dict[str, _Known] = {}
        self._changed = threading.Condition()
        self._queue: list[tuple[float, int, int, Step]] = []
        self._order = itertools.count()
        self._busy_until: dict[str, float] = {}
        self._thread: threading.Thread | None = None

    def start(self, timing: Timing) -> None:
        """From here on events take the time that ``timing`` says, on a thread."""
        self._timing = timing
        self._thread = threading.Thread(target=self._run, name="udevd", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """What is queued is done at once, and so is what follows."""
        self._timing = AT_ONCE
        with self._changed:
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout=1)

    def know(self, node: Node) -> None:
        """``node`` was there before anybody could listen."""
        self._database.write(node, self._learn(node, "add").properties, current=True)

    def handle(self, first: int, steps: Iterable[Step]) -> None:
        """Events that the kernel announced together; their sequence numbers count from ``first``."""
        numbered = sorted(enumerate(steps, start=first), key=lambda pair: pair[1].rank)
        if not self._timing.is_real:
            for seqnum, step in numbered:
                self._process(seqnum, step)
            return
        with self._changed:
            for seqnum, step in numbered:
                heapq.heappush(self._queue, (self._due(step), next(self._order), seqnum, step))
            self._database.busy(bool(self._queue))
            self._changed.notify_all()

    def _due(self, step: Step) -> float:
        """Events of one device are done one after the other, those of others meanwhile."""
        timing = self._timing
        device = _device_of(step.event.devpath)
        earliest = time.monotonic() + timing.rules + (timing.farewell if step.late else 0.0)
        due = max(earliest, self._busy_until.get(device, 0.0) + timing.rule)
        self._busy_until[device] = due
        return due

    def _run(self) -> None:
        while (entry := self._next()) is not None:
            seqnum, step = entry
            try:
                self._process(seqnum, step)
            except Exception:
                _log.exception("event %s", step.event)
            with self._changed:
                if not self._queue:
                    self._database.busy(False)
                    self._busy_until.clear()

    def _next(self) -> tuple[int, Step] | None:
        with self._changed:
            while self._queue or self._timing.is_real:
                wait = self._queue[0][0] - time.monotonic() if self._queue else None
                if self._queue and (not self._timing.is_real or (wait is not None and wait <= 0)):
                    _, _, seqnum, step = heapq.heappop(self._queue)
                    return seqnum, step
                self._changed.wait(wait)
        return None

    def _process(self, seqnum: int, step: Step) -> None:
        node, event = step.node, step.event
        if event.action == "remove":
            known = self._known.pop(node.devpath, None) or _Known({}, current=False)
            self._database.forget(node)
        else:
            known = self._learn(node, event.action)
            self._database.write(node, known.properties, current=known.current)
        self._send(_said(node, event, known), seqnum)

    def _learn(self, node: Node, action: str) -> _Known:
        if action == "unbind":
            kept = {key: value for key, value in node.udev.items() if key in node.kept}
            known = _Known(kept, current=False)
        else:
            known = _Known(node.udev, current=True)
        self._known[node.devpath] = known
        return known


def _said(node: Node, event: Uevent, known: _Known) -> Uevent:
    properties = {"USEC_INITIALIZED": str(node.appeared), **known.properties}
    if node.links:
        properties["DEVLINKS"] = " ".join(node.links)
    if node.tags:
        properties["TAGS"] = ":" + "".join(f"{tag}:" for tag in node.tags)
        if known.current:
            properties["CURRENT_TAGS"] = properties["TAGS"]
    return Uevent(event.action, event.devpath, event.subsystem, event.kernel, properties, node.tags)


def _device_of(devpath: str) -> str:
    """The USB device that ``devpath`` lies in: what belongs together is handled in order."""
    parts = devpath.split("/")
    return next((part for part in reversed(parts) if "-" in part and ":" not in part), devpath)
