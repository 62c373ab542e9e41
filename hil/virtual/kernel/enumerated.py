"""A device between enumeration and disconnect: its nodes, who is bound to its interfaces, the events of each step.

Order of events as a real kernel's: the golden events for plugging and unplugging, detaching, re-attaching and resets.
Everything here runs with the kernel's lock held.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Protocol

from hil.virtual.kernel import cdcacm, usbnodes
from hil.virtual.kernel.attachment import Attachment
from hil.virtual.kernel.cdcacm import Function
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


class Bus(Protocol):
    """What a port needs of the kernel it belongs to. All but ``lock`` is used with the lock held."""

    @property
    def lock(self) -> threading.RLock: ...

    @property
    def timing(self) -> Timing: ...

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


class Enumerated:
    """One device on the bus."""

    def __init__(self, bus: Bus, attachment: Attachment, place: Place) -> None:
        self.attachment = attachment
        self.place = place
        self.node = usbnodes.device_node(attachment.device, place)
        self.interfaces: dict[int, Node] = {}
        self._bus = bus
        self._ttys: dict[int, tuple[Tty, Node]] = {}

    @property
    def device(self) -> UsbDevice:
        return self.attachment.device

    # Coming and going.

    def appear(self) -> list[Step]:
        """The device and its interfaces come, drivers take them."""
        self._bus.sysfs.add(self.node)
        steps = [Step(self.node, self.node.event("add"))]
        steps += self.configure()
        self._bus.sysfs.bind(self.node, "usb")
        return [*steps, Step(self.node, self.node.event("bind", driver="usb"), 6)]

    def leave(self) -> list[Step]:
        """Drivers let go, interfaces and device go."""
        steps = self.unconfigure()
        for action in ("unbind", "remove"):
            steps.append(Step(self.node, self.node.event(action), 4, late=True))
        self._bus.sysfs.remove(self.node)
        return steps

    def vanish(self) -> None:
        """The cable is pulled: nothing reaches the device any more, whatever programs still see."""
        self.attachment.present = False
        for tty, _ in self._ttys.values():
            tty.cut()
        if self.device.serial is not None:
            self.device.serial.send = _drop

    def configure(self) -> list[Step]:
        """The interfaces appear."""
        functions = self._functions()
        control = {function.control.number: function for function in functions}
        claimed = {function.data.number for function in functions if function.data}
        steps: list[Step] = []
        for interface in usbnodes.interfaces_of(self.device):
            number = interface.number
            node = self.interfaces[number] = usbnodes.interface_node(self.device, self.place, interface)
            self._bus.sysfs.add(node)
            early = cdcacm.DRIVER if number in claimed else None
            steps.append(Step(node, node.event("add", driver=early), 2 if number in control else 1))
            if number in control:
                tty, bound = self._take(control[number])
                steps += [tty, bound]
            elif driver := self.device.interface_drivers.get(number):
                self.attachment.holders[number] = driver
                self._bus.sysfs.bind(node, driver)
                steps.append(Step(node, node.event("bind", driver=driver), 4))
        return steps

    def unconfigure(self) -> list[Step]:
        """The interfaces go."""
        steps: list[Step] = []
        bound = set(self.attachment.holders)
        for number, node in self.interfaces.items():
            steps += self.release(number)
            late = number in bound
            steps.append(Step(node, node.event("remove"), 3 if late else 1, late=late))
        for node in self.interfaces.values():
            self._bus.sysfs.remove(node)
        self.interfaces.clear()
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
        if any(one in self.attachment.holders for one in function.numbers):
            return []
        tty, bound = self._take(function)
        if function.data is None:
            return [tty, bound]
        data = self.interfaces[function.data.number]
        self._bus.sysfs.bind(data, cdcacm.DRIVER)
        return [Step(data, data.event("bind", driver=cdcacm.DRIVER)), tty, bound]

    def _take(self, function: Function) -> tuple[Step, Step]:
        """cdc_acm takes ``function``: a tty appears."""
        for number in function.numbers:
            self.attachment.holders[number] = cdcacm.DRIVER
        node = self.interfaces[function.control.number]
        self._bus.sysfs.bind(node, cdcacm.DRIVER)
        tty = self._add_tty(function.control)
        return Step(tty, tty.event("add"), 3), Step(node, node.event("bind", driver=cdcacm.DRIVER), 5)

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
        self.attachment.holders.pop(number, None)
        node = self.interfaces[number]
        self._bus.sysfs.bind(node, None)
        return Step(node, node.event("unbind"), 2, late=not self.attachment.connected)

    def _functions(self) -> list[Function]:
        if self.device.serial is None:
            return []
        return cdcacm.functions(usbnodes.interfaces_of(self.device), self.device.interface_drivers)

    def _function_of(self, number: int) -> Function | None:
        return next((one for one in self._functions() if number in one.numbers), None)
