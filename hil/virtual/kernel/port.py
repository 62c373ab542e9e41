"""One USB port: what is plugged into it, and what the kernel makes of that.

A plug and an unplug are facts of the cable and return at once. The hub's thread looks at the port afterwards, as the
real one does: it takes away a device that left, waits until a new one sits still, resets and asks it, and only then
programs hear of it (real kernel fact sheet 1, row 6). With ``timing.AT_ONCE`` all of that happens inside the call.
"""

from __future__ import annotations

import errno
import time
from dataclasses import dataclass
from typing import Protocol

from hil.errors import UsageError
from hil.virtual.kernel.attachment import Attachment, Way
from hil.virtual.kernel.devicefiles import DeviceFiles
from hil.virtual.kernel.enumerated import Bus, Enumerated
from hil.virtual.kernel.usbdevice import UsbDevice
from hil.virtual.kernel.usbnodes import Node, Place


class Hub(Bus, Protocol):
    """The kernel with the thread that looks after its ports."""

    def changed(self, port: Port, delay: float = 0.0) -> None:
        """Have ``port.look`` called, in ``delay`` seconds. Without the lock."""

    def show_device(self, path: str, node: Node | None) -> None:
        """Have the directory of port ``path`` lead to its device, or to none. With the lock."""

    def pause(self, seconds: float) -> None:
        """Let real time pass; ends early when the kernel goes down. Without the lock."""


@dataclass(frozen=True, slots=True, eq=False)
class _Cable:
    """One plug of a device: the same device plugged in again hangs on another one."""

    device: UsbDevice


class Port:
    """A port of the root hub. ``attach`` and ``detach`` may be called from any thread, also from a device's methods."""

    def __init__(self, kernel: Hub, path: str) -> None:
        self.path = path
        self._kernel = kernel
        self._cable: _Cable | None = None
        self._unplugged = 0.0  # monotonic seconds
        self.known: Enumerated | None = None
        self.disabled = False
        self._removed: _Cable | None = None

    @property
    def attached(self) -> UsbDevice | None:
        """The device on the port, enumerated or not yet."""
        cable = self._cable
        return cable.device if cable else None

    @property
    def devnum(self) -> int:
        """The number of the device on the port, 0 for none."""
        known = self.known
        return known.attachment.devnum if known else 0

    def attach(self, device: UsbDevice) -> None:
        """Plugs ``device`` in. Raises ``UsageError`` on a taken port."""
        with self._kernel.lock:
            if self._cable is not None:
                raise UsageError(f"port {self.path} already has a device", hint="detach it first")
            self._cable = _Cable(device)
            settled = self._unplugged + self._kernel.timing.recovery
        self._kernel.changed(self, max(0.0, settled - time.monotonic()))

    def detach(self) -> None:
        """Pulls the device: from here on it hears and says nothing. Nothing happens on an empty port.

        Calls of the device that are under way on other threads may end after this returned.
        """
        with self._kernel.lock:
            cable, self._cable = self._cable, None
            if cable is None:
                return
            self._unplugged = time.monotonic()
            if self.known is not None:
                self.known.vanish()
        self._kernel.changed(self)
        cable.device.on_detached()

    # What the hub's thread does.

    def look(self) -> None:
        """Brings what programs see in line with what is plugged in."""
        kernel = self._kernel
        with kernel.lock:
            if self.known is not None and not self.known.attachment.present:
                self._disconnect(self.known)
            settled = self._unplugged + kernel.timing.recovery - time.monotonic()
        if settled > 0:
            # Other ports come first.
            kernel.changed(self, settled)
            return
        while (cable := self._waiting()) is not None:
            kernel.pause(kernel.timing.debounce)
            if self._waiting() is not cable:
                continue
            kernel.pause(kernel.timing.enumeration)
            if self._connect(cable):
                cable.device.on_attached()
                return

    def _waiting(self) -> _Cable | None:
        """What is plugged in and not enumerated."""
        with self._kernel.lock:
            off = self.known is not None or self.disabled or self._cable is self._removed
            return None if off else self._cable

    def _connect(self, cable: _Cable) -> bool:
        kernel = self._kernel
        with kernel.lock:
            if self._cable is not cable:
                return False
            place = Place(kernel.controller, self.path, kernel.next_devnum())
            way = Way(kernel.controller.bus, (int(self.path.rpartition("-")[2]),))
            attachment = Attachment(cable.device, place.devnum, self, kernel.lock, way)
            known = self.known = Enumerated(kernel, attachment, place)
            known.files = DeviceFiles(kernel, known, lambda: self._remove(known))
            kernel.usbfs.add(attachment)
            steps = known.appear()
            kernel.show_device(self.path, known.node)
            kernel.announce(steps)
        return True

    def _disconnect(self, known: Enumerated) -> None:
        kernel = self._kernel
        self.known = None
        kernel.show_device(self.path, None)
        kernel.usbfs.remove(known.attachment)
        known.attachment.disconnect()
        kernel.announce(known.leave())
        kernel.free_devnum(known.place.devnum)

    # What the files of sysfs ask for.

    def disable(self, disabled: bool) -> None:
        """A disabled port has no device, whatever is plugged in."""
        with self._kernel.lock:
            self.disabled = disabled
            if disabled and self.known is not None:
                self._disconnect(self.known)
        if not disabled:
            self._kernel.changed(self)

    def _remove(self, known: Enumerated) -> None:
        """The device leaves the bus and stays on its cable; it comes back when it is plugged in again."""
        with self._kernel.lock:
            if self.known is known:
                self._removed = self._cable
                self._disconnect(known)

    # What usbfs asks for (attachment.Bindings).

    def unbind_driver(self, attachment: Attachment, interface: int) -> None:
        """A program detaches the kernel's driver."""
        if known := self._current(attachment):
            self._kernel.announce(known.release(interface))

    def probe_driver(self, attachment: Attachment, interface: int) -> bool:
        """A program gives an interface back."""
        known = self._current(attachment)
        steps = known.probe(interface) if known else []
        self._kernel.announce(steps)
        return bool(steps)

    def show_claim(self, attachment: Attachment, interface: int, claimed: bool) -> None:
        """usbfs binds to or lets go of an interface; the kernel sends no events of that."""
        if known := self._current(attachment):
            self._kernel.sysfs.bind(known.interfaces[interface], "usbfs" if claimed else None)

    def reset_device(self, attachment: Attachment) -> None:
        """USBDEVFS_RESET, without the lock: drivers and claims go, the bus is reset, the drivers come back.

        Raises ``OSError`` ENODEV for a device that is not there, before or after.
        """
        kernel = self._kernel
        with kernel.lock:
            known = self._current(attachment)
            if known is None:
                raise OSError(errno.ENODEV, "unplugged")
            held = sorted(attachment.holders)
            kernel.announce([step for number in held for step in known.release(number)])
        kernel.pause(kernel.timing.reset)
        attachment.device.alternate.clear()
        attachment.device.reset()
        with kernel.lock:
            if self._current(attachment) is None:
                raise OSError(errno.ENODEV, "unplugged")
            kernel.announce([step for number in held for step in known.probe(number)])

    def _current(self, attachment: Attachment) -> Enumerated | None:
        known = self.known
        return known if known and known.attachment is attachment else None
