"""A device between enumeration and disconnect: its nodes, who is bound to its interfaces, the events of each step.

Order of events as a real kernel's: the golden events for plugging and unplugging, detaching, re-attaching and resets.
Everything here runs with the kernel's lock held.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from hil.virtual.kernel import cdcacm, usbattributes, usbnodes
from hil.virtual.kernel.attachment import Attachment
from hil.virtual.kernel.cdcacm import Function
from hil.virtual.kernel.control import Control
from hil.virtual.kernel.devusb import DevUsb
from hil.virtual.kernel.sysfs import Sysfs
from hil.virtual.kernel.timing import Timing
from hil.virtual.kernel.tty import Tty
from hil.virtual.kernel.ttyhub import TtyHub
from hil.virtual.kernel.uevents import Uevent
from hil.virtual.kernel.usbconfig import Interface
from hil.virtual.kernel.usbdevice import UsbDevice, _drop
from hil.virtual.kernel.usbnodes import Controller, Node, Place


@dataclass(frozen=True, slots=True)
class Step:
    """An event of ``node`` and when udev is through with it: of the steps announced together, low ranks come first.

    udev is slow with those that are ``late``: what it asks of a device that leaves is answered when it has left.
    """

    node: Node
    event: Uevent
    rank: int = 0
    late: bool = False


@dataclass(slots=True)
class Policy:
    """What the bus does with a device that comes: look for drivers (``drivers_autoprobe``), let it and its interfaces
    be used (``authorized_default``, ``interface_authorized_default`` of the root hub).
    """

    autoprobe: bool = True
    devices: int = 1
    interfaces: bool = True


class Files(Protocol):
    """The files of a device that can be written."""

    def of_device(self) -> dict[str, Control]: ...

    def of_interface(self, number: int) -> dict[str, Control]: ...


class Bus(Protocol):
    """What a port needs of the kernel it belongs to. All but ``lock`` is used with the lock held."""

    @property
    def lock(self) -> threading.RLock: ...

    @property
    def timing(self) -> Timing: ...

    @property
    def policy(self) -> Policy: ...

    @property
    def controller(self) -> Controller: ...

    @property
    def sysfs(self) -> Sysfs: ...

    @property
    def usbfs(self) -> DevUsb: ...

    @property
    def ttys(self) -> TtyHub: ...

    def next_devnum(self) -> int:
        """The next free device number."""

    def free_devnum(self, number: int) -> None:
        """Give a device number back."""

    def announce(self, steps: list[Step]) -> None:
        """Send the events of ``steps``."""

    def change(self, known: Enumerated, action: Callable[[], list[Step]]) -> None:
        """Run ``action`` on a device with the lock held and announce; without the lock. Raises ``OSError`` ENODEV."""


class Enumerated:
    """One device on the bus. ``files`` are set before it appears."""

    files: Files

    def __init__(self, bus: Bus, attachment: Attachment, place: Place) -> None:
        attachment.device.configuration = 0
        self.attachment = attachment
        self.place = place
        self.node = usbnodes.device_node(attachment.device, place)
        self.interfaces: dict[int, Node] = {}
        self.authorized = bus.policy.devices != 0
        self._bus = bus
        self._ttys: dict[int, tuple[Tty, Node]] = {}

    @property
    def device(self) -> UsbDevice:
        return self.attachment.device

    # Coming and going.

    def appear(self) -> list[Step]:
        """The device comes, and with its driver the interfaces and theirs."""
        self.node.controls = self.files.of_device()
        self._bus.sysfs.add(self.node)
        steps = [Step(self.node, self.node.event("add"))]
        return [*steps, *(self.bind() if self._bus.policy.autoprobe else [])]

    def bind(self) -> list[Step]:
        """The driver of all USB devices takes this one: it chooses a configuration for a device that may be used."""
        steps = self.configure(self.device.configuration_descriptor[5]) if self.authorized else []
        self._bus.sysfs.bind(self.node, "usb")
        return [*steps, Step(self.node, self.node.event("bind", driver="usb"), 6)]

    def unbind(self) -> list[Step]:
        """That driver lets go of it."""
        steps = self.configure(0)
        self._bus.sysfs.bind(self.node, None)
        return [*steps, self._farewell("unbind")]

    def _farewell(self, action: str) -> Step:
        return Step(self.node, self.node.event(action), 4, late=not self.attachment.connected)

    def leave(self) -> list[Step]:
        """Drivers let go, interfaces and device go."""
        steps = self.unbind() if self.node.driver else self.configure(0)
        steps.append(self._farewell("remove"))
        self._bus.sysfs.remove(self.node)
        return steps

    def vanish(self) -> None:
        """The cable is pulled: nothing reaches the device any more, whatever programs still see."""
        self.attachment.present = False
        for tty, _ in self._ttys.values():
            tty.cut()
        if self.device.serial is not None:
            self.device.serial.send = _drop

    def configure(self, value: int) -> list[Step]:
        """The device's interfaces go; with a ``value`` other than 0 those of that configuration come."""
        steps = self._take_interfaces_away()
        self.device.configuration = value
        self.device.alternate.clear()
        if value:
            for interface in usbnodes.interfaces_of(self.device):
                steps += self._add_interface(interface)
        self._bus.sysfs.rewrite(self.node, usbattributes.of_configuration(self.device))
        return steps

    def _add_interface(self, interface: Interface) -> list[Step]:
        """An interface appears and its driver takes it; cdc_acm takes a data interface with its control interface."""
        number = interface.number
        node = self.interfaces[number] = usbnodes.interface_node(self.device, self.place, interface)
        node.controls = self.files.of_interface(number)
        if not self._bus.policy.interfaces:
            self.attachment.unauthorized.add(number)
        self._bus.sysfs.add(node)
        early = self.attachment.holders.get(number)
        function = self._function_of(number)
        control = function is not None and function.control.number == number
        steps = [Step(node, node.event("add", driver=str(early) if early else None), 2 if control else 1)]
        if early is None and not (self._bus.policy.autoprobe and self._bus.policy.interfaces):
            return steps
        if function is not None and control:
            return [*steps, *self._take(function)]
        driver = early or (None if function else self.device.interface_drivers.get(number))
        if isinstance(driver, str):
            self.attachment.holders[number] = driver
            self._bus.sysfs.bind(node, driver)
            steps.append(Step(node, node.event("bind", driver=driver), 4))
        return steps

    def _take_interfaces_away(self) -> list[Step]:
        steps: list[Step] = []
        bound = set(self.attachment.holders)
        for number, node in self.interfaces.items():
            steps += self.release(number)
            late = number in bound and not self.attachment.connected
            steps.append(Step(node, node.event("remove"), 3 if number in bound else 1, late=late))
        for node in self.interfaces.values():
            self._bus.sysfs.remove(node)
        self.interfaces.clear()
        self.attachment.unauthorized.clear()
        return steps

    # Drivers.

    def release(self, number: int) -> list[Step]:
        """Whoever is bound to interface ``number`` lets go of it and of what belongs to it."""
        holder = self.attachment.holders.get(number)
        function = self._function_of(number)
        if holder == cdcacm.DRIVER and function is not None:
            return self._let_go(function, number)
        if holder is None:
            return []
        return [self._unbind(number)]

    def probe(self, number: int) -> list[Step]:
        """Offers free interface ``number`` to its driver: cdc_acm takes a function by its control interface."""
        function = self._function_of(number)
        if function is None or function.control.number != number:
            return []
        if any(
            one in self.attachment.holders or one in self.attachment.unauthorized for one in function.numbers
        ):
            return []
        steps = self._take(function)
        if function.data is None:
            return steps
        data = self.interfaces[function.data.number]
        self._bus.sysfs.bind(data, cdcacm.DRIVER)
        return [Step(data, data.event("bind", driver=cdcacm.DRIVER)), *steps]

    def probe_all(self) -> list[Step]:
        """Offers every free interface."""
        return [step for number in self.interfaces for step in self.probe(number)]

    def _take(self, function: Function) -> list[Step]:
        """cdc_acm takes ``function``: a tty appears."""
        for number in function.numbers:
            self.attachment.holders[number] = cdcacm.DRIVER
        node = self.interfaces[function.control.number]
        self._bus.sysfs.bind(node, cdcacm.DRIVER)
        tty = self._add_tty(function.control)
        return [Step(tty, tty.event("add"), 3), Step(node, node.event("bind", driver=cdcacm.DRIVER), 5)]

    def _add_tty(self, interface: Interface) -> Node:
        assert self.device.serial is not None
        tty = self._bus.ttys.create(self.device.serial)
        node = usbnodes.tty_node(self.device, self.place, interface, tty.path.name, tty.device_number)
        tty.show()
        self._bus.sysfs.add(node)
        self._ttys[interface.number] = tty, node
        return node

    def _let_go(self, function: Function, asked: int) -> list[Step]:
        """The tty goes, then cdc_acm lets go of both interfaces; of the one that it was asked for last."""
        tty, node = self._ttys.pop(function.control.number)
        self._bus.sysfs.remove(node)
        self._bus.ttys.remove(tty)
        if self.device.serial is not None:
            self.device.serial.send = self.device.serial_to_endpoint if self.attachment.present else _drop
        numbers = sorted(function.numbers, key=lambda number: number == asked)
        return [Step(node, node.event("remove")), *map(self._unbind, numbers)]

    def _unbind(self, number: int) -> Step:
        self.attachment.drop_holder(number)
        node = self.interfaces[number]
        self._bus.sysfs.bind(node, None)
        return Step(node, node.event("unbind"), 2, late=not self.attachment.connected)

    def _functions(self) -> list[Function]:
        if self.device.serial is None:
            return []
        return cdcacm.functions(usbnodes.interfaces_of(self.device), self.device.interface_drivers)

    def _function_of(self, number: int) -> Function | None:
        return next((one for one in self._functions() if number in one.numbers), None)
