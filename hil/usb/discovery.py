"""Which boards are on USB, now and as they come and go. USB fact sheet 2.2 and 9.1.

The monitor starts before the one scan, so nothing falls between them; from then on only events move the
picture. A board is followed by its port path: it keeps that when it changes its mode.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import pyudev

from hil.device.platforms import UsbMode
from hil.errors import BoardNotFound
from hil.usb.sysfs import UsbBoard, board_from, interface_number, port_of

Listener = Callable[["UsbEvent"], None]
_log = logging.getLogger(__name__)
_HISTORY = 12  # events named in an error


@dataclass(frozen=True, slots=True)
class UsbEvent:
    """Something that happened on USB: ``at`` is monotonic seconds, ``action`` ``add`` or ``remove``.

    ``what`` is ``board`` or ``tty``; ``board`` is the board after the event, ``None`` when it is gone.
    """

    at: float
    action: str
    what: str
    port: str
    detail: str
    board: UsbBoard | None

    def __str__(self) -> str:
        return f"{self.action} {self.what} {self.detail} at USB port {self.port}"


class UdevSource(Protocol):
    """Where devices and their events come from; tests put something else in its place."""

    def start(self, callback: Callable[[Mapping[str, str], str], None]) -> None:
        """Begin to report events as (properties, serial string)."""

    def scan(self) -> list[tuple[Mapping[str, str], str]]:
        """All USB devices and serial ports there are, in the same form; devices come before their ports."""

    def stop(self) -> None:
        """End reporting."""


class Udev:
    """The real thing: libudev by way of pyudev."""

    def __init__(self) -> None:
        self._context: Any = pyudev.Context()
        self._observer: Any = None

    def start(self, callback: Callable[[Mapping[str, str], str], None]) -> None:
        monitor: Any = pyudev.Monitor.from_netlink(self._context)
        monitor.filter_by("usb", "usb_device")
        monitor.filter_by("tty")
        observer: Any = pyudev.MonitorObserver(
            monitor,
            callback=lambda device: callback(dict(device.properties), _serial(device)),
            name="usb-monitor",
        )
        observer.start()
        self._observer = observer

    def scan(self) -> list[tuple[Mapping[str, str], str]]:
        devices = list(self._context.list_devices(subsystem="usb", DEVTYPE="usb_device"))
        ttys = [tty for tty in self._context.list_devices(subsystem="tty") if port_of(tty.device_path)]
        return [(dict(device.properties), _serial(device)) for device in devices + ttys]

    def stop(self) -> None:
        if self._observer is not None:
            self._observer.stop()
            self._observer = None


def _serial(device: Any) -> str:
    """The serial string: udev's own property, else what sysfs says while the device is there."""
    known = device.properties.get("ID_SERIAL_SHORT")
    if known:
        return str(known)
    try:
        return str(device.attributes.asstring("serial"))
    except (KeyError, UnicodeDecodeError):
        return ""


class UsbWatcher:
    """The boards on USB, kept true by hot-plug events. Start it once per session; a context manager.

    Methods may be called from any thread. ``events`` is the hot-plug log, oldest first.
    """

    def __init__(self, source: UdevSource | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._source = source if source is not None else Udev()
        self._clock = clock
        self._changed = threading.Condition()
        self._boards: dict[str, UsbBoard] = {}
        self._listeners: list[Listener] = []
        self.events: list[UsbEvent] = []

    def __enter__(self) -> UsbWatcher:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start listening, then scan."""
        self._source.start(self._handle)
        for properties, serial in self._source.scan():
            self._handle({**properties, "ACTION": "add"}, serial)

    def stop(self) -> None:
        self._source.stop()

    def boards(self) -> list[UsbBoard]:
        """All boards there are, by port."""
        with self._changed:
            return sorted(self._boards.values(), key=lambda board: _natural(board.port))

    def at(self, port: str) -> UsbBoard | None:
        """The board at ``port``, if one is there."""
        with self._changed:
            return self._boards.get(port)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` for each event, on the monitor's thread. Returns what ends it."""
        with self._changed:
            self._listeners.append(listener)

        def end() -> None:
            with self._changed:
                if listener in self._listeners:
                    self._listeners.remove(listener)

        return end

    def wait(self, port: str, mode: UsbMode, within: float, *, since: UsbBoard | None = None) -> UsbBoard:
        """The board at ``port`` once it is there in ``mode``, with its serial port in normal mode.

        With ``since``, it must have enumerated anew after that sighting. ``within`` is in seconds. Raises
        ``BoardNotFound`` that says what was seen instead.
        """
        deadline = self._clock() + within
        started = len(self.events)
        with self._changed:
            while True:
                board = self._boards.get(port)
                if board is not None and board.mode is mode and board.ready and not _same(board, since):
                    return board
                left = deadline - self._clock()
                if left <= 0:
                    raise self._not_seen(port, mode, within, started)
                self._changed.wait(left)

    def wait_present(self, port: str, within: float) -> UsbBoard | None:
        """The board at ``port`` in whichever mode, once it is usable there.

        After ``within`` seconds whatever is there, also a board whose serial port did not come, or ``None``.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: (seen := self._boards.get(port)) is not None and seen.ready, within
            )
            return self._boards.get(port)

    def wait_gone(self, board: UsbBoard, within: float) -> bool:
        """Whether ``board`` left USB, or enumerated anew, within that many seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: not _same(self._boards.get(board.port), board), within)

    def _not_seen(self, port: str, mode: UsbMode, within: float, started: int) -> BoardNotFound:
        board = self._boards.get(port)
        history = [str(event) for event in self.events[started:] if event.port == port][-_HISTORY:]
        others = ", ".join(str(other) for other in self._boards.values() if other.port != port)
        now = str(board) if board else f"nothing at USB port {port}"
        return BoardNotFound(
            f"no board in {mode} mode at USB port {port} within {within:g} s",
            expected=f"a Particle board in {mode} mode",
            found=f"{now}; meanwhile: {', then '.join(history) or 'no USB event'}; elsewhere: {others or 'no board'}",
            hint="look at cable, power and hub; `hil boards` shows what USB sees",
        )

    def _handle(self, properties: Mapping[str, str], serial: str) -> None:
        """One event, or one device of the scan taken as an ``add``."""
        action = properties.get("ACTION", "")
        port = port_of(properties.get("DEVPATH", ""))
        if action not in ("add", "remove") or port is None:
            return
        tty = properties.get("SUBSYSTEM") == "tty"
        with self._changed:
            event = (
                self._tty(action, port, properties) if tty else self._device(action, port, properties, serial)
            )
            if event is None:
                return
            self.events.append(event)
            listeners = list(self._listeners)
            self._changed.notify_all()
        for listener in listeners:
            try:
                listener(event)
            except Exception:  # one listener's trouble must not end the watching of all boards
                _log.exception("a listener failed at: %s", event)

    def _device(self, action: str, port: str, properties: Mapping[str, str], serial: str) -> UsbEvent | None:
        known = self._boards.get(port)
        board = board_from(properties, serial)
        if action == "remove":
            if known is None or (board is not None and board.address != known.address):
                return None  # the echo of an enumeration that is over
            del self._boards[port]
            return self._event(action, "board", port, f"{known.platform.name} in {known.mode} mode", None)
        if board is None:
            return None
        if known is not None and _same(board, known):
            return None  # the scan and the monitor both saw it
        self._boards[port] = board
        return self._event(action, "board", port, f"{board.platform.name} in {board.mode} mode", board)

    def _tty(self, action: str, port: str, properties: Mapping[str, str]) -> UsbEvent | None:
        known = self._boards.get(port)
        if known is None or interface_number(properties) != 0:
            return None
        node = properties.get("DEVNAME", "") if action == "add" else None
        if node == known.tty:
            return None
        board = replace(known, tty=node)
        self._boards[port] = board
        return self._event(action, "tty", port, node or known.tty or "", board)

    def _event(self, action: str, what: str, port: str, detail: str, board: UsbBoard | None) -> UsbEvent:
        return UsbEvent(self._clock(), action, what, port, detail, board)


def _same(board: UsbBoard | None, other: UsbBoard | None) -> bool:
    """Whether two sightings are of one enumeration."""
    if board is None or other is None:
        return False
    return (board.port, board.bus, board.address) == (other.port, other.bus, other.address)


def _natural(port: str) -> list[int]:
    return [int(part) for part in port.replace("-", ".").split(".")]
