"""One USB port: plugging a device in and out, binding drivers, and the events that each step sends.

Order of events as a real kernel's: the SEQNUMs of the golden events for plugging, usbcore's teardown for unplugging.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Protocol

from hil.errors import UsageError
from hil.virtual.kernel import cdcacm, usbnodes
from hil.virtual.kernel.attachment import Attachment, Way
from hil.virtual.kernel.cdcacm import Function
from hil.virtual.kernel.devusb import DevUsb
from hil.virtual.kernel.sysfs import Sysfs
from hil.virtual.kernel.tty import Tty
from hil.virtual.kernel.ttyhub import TtyHub
from hil.virtual.kernel.uevents import Uevent
from hil.virtual.kernel.usbconfig import Interface
from hil.virtual.kernel.usbdevice import UsbDevice, _drop
from hil.virtual.kernel.usbnodes import Controller, Node, Place


@dataclass(frozen=True, slots=True)
class Step:
    """An event and when udev is through with it: of the events of one plug, low ranks come first."""

    event: Uevent
    rank: int


class Bus(Protocol):
    """What a port needs of the kernel it belongs to. All but ``lock`` is used with the lock held."""

    @property
    def lock(self) -> threading.RLock: ...

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


@dataclass(slots=True)
class _Plugged:
    """What is on the port."""

    attachment: Attachment
    place: Place
    device: Node
    interfaces: dict[int, Node] = field(default_factory=dict)
    ttys: dict[int, tuple[Tty, Node]] = field(default_factory=dict)


class Port:
    """A port of the root hub. ``attach`` and ``detach`` may be called from any thread, also from a device's methods."""

    def __init__(self, kernel: Bus, path: str) -> None:
        self.path = path
        self._kernel = kernel
        self._plugged: _Plugged | None = None

    @property
    def attached(self) -> UsbDevice | None:
        """The device on the port."""
        plugged = self._plugged
        return plugged.attachment.device if plugged else None

    @property
    def devnum(self) -> int:
        """The number of the device on the port, 0 for none."""
        plugged = self._plugged
        return plugged.attachment.devnum if plugged else 0

    def attach(self, device: UsbDevice) -> None:
        """Plugs ``device`` in: nodes, sysfs, drivers, tty, then the events. Raises ``UsageError`` on a taken port."""
        kernel = self._kernel
        with kernel.lock:
            if self._plugged is not None:
                raise UsageError(f"port {self.path} already has a device", hint="detach it first")
            place = Place(kernel.controller, self.path, kernel.next_devnum())
            way = Way(kernel.controller.bus, (int(self.path.rpartition("-")[2]),))
            attachment = Attachment(device, place.devnum, self, kernel.lock, way)
            plugged = _Plugged(attachment, place, usbnodes.device_node(device, place))
            kernel.usbfs.add(attachment)
            self._plugged = plugged
            kernel.announce(self._appear(plugged))
        device.on_attached()

    def detach(self) -> None:
        """Pulls the device: transfers and ttys end in errors, then the events. Nothing happens on an empty port.

        Calls of the device that are under way on other threads may end after this returned.
        """
        kernel = self._kernel
        with kernel.lock:
            plugged, self._plugged = self._plugged, None
            if plugged is None:
                return
            kernel.usbfs.remove(plugged.attachment)
            plugged.attachment.disconnect()
            kernel.announce(self._disappear(plugged))
            kernel.free_devnum(plugged.place.devnum)
        plugged.attachment.device.on_detached()

    # Plugging.

    def _appear(self, plugged: _Plugged) -> list[Step]:
        device, sysfs = plugged.attachment.device, self._kernel.sysfs
        functions = self._functions(plugged)
        control = {function.control.number: function for function in functions}
        claimed = {function.data.number for function in functions if function.data}
        sysfs.add(plugged.device)
        steps = [Step(plugged.device.event("add"), 0)]
        for interface in usbnodes.interfaces_of(device):
            node = usbnodes.interface_node(device, plugged.place, interface)
            plugged.interfaces[interface.number] = node
            sysfs.add(node)
            number = interface.number
            early = cdcacm.DRIVER if number in claimed else None
            steps.append(Step(node.event("add", driver=early), 2 if number in control else 1))
            if number in control:
                steps += self._bind_function(plugged, control[number])
            elif driver := device.interface_drivers.get(number):
                plugged.attachment.holders[number] = driver
                sysfs.bind(node, driver)
                steps.append(Step(node.event("bind", driver=driver), 4))
        sysfs.bind(plugged.device, "usb")
        steps.append(Step(plugged.device.event("bind", driver="usb"), 6))
        return steps

    def _bind_function(self, plugged: _Plugged, function: Function) -> list[Step]:
        """cdc_acm takes ``function``: a tty appears. Its data interface shows as bound when it appears itself."""
        for number in function.numbers:
            plugged.attachment.holders[number] = cdcacm.DRIVER
        control = plugged.interfaces[function.control.number]
        self._kernel.sysfs.bind(control, cdcacm.DRIVER)
        tty = self._add_tty(plugged, function.control)
        return [Step(tty, 3), Step(control.event("bind", driver=cdcacm.DRIVER), 5)]

    def _add_tty(self, plugged: _Plugged, interface: Interface) -> Uevent:
        device = plugged.attachment.device
        assert device.serial is not None
        tty = self._kernel.ttys.create(device.serial)
        node = usbnodes.tty_node(device, plugged.place, interface, tty.path.name, tty.device_number)
        tty.show()
        self._kernel.sysfs.add(node)
        plugged.ttys[interface.number] = tty, node
        return node.event("add")

    # Unplugging.

    def _disappear(self, plugged: _Plugged) -> list[Step]:
        sysfs = self._kernel.sysfs
        steps = []
        for number, node in plugged.interfaces.items():
            steps += self._release_holder(plugged, number)
            steps.append(Step(node.event("remove"), 0))
        steps.append(Step(plugged.device.event("unbind"), 0))
        steps.append(Step(plugged.device.event("remove"), 0))
        for node in plugged.interfaces.values():
            sysfs.remove(node)
        sysfs.remove(plugged.device)
        return steps

    def _release_holder(self, plugged: _Plugged, number: int) -> list[Step]:
        holder = plugged.attachment.holders.get(number)
        function = self._function_of(plugged, number)
        if holder == cdcacm.DRIVER and function is not None:
            return self._unbind_function(plugged, function)
        if holder is None:
            return []
        del plugged.attachment.holders[number]
        node = plugged.interfaces[number]
        self._kernel.sysfs.bind(node, None)
        return [Step(node.event("unbind"), 0)]

    def _unbind_function(self, plugged: _Plugged, function: Function) -> list[Step]:
        tty, tty_node = plugged.ttys.pop(function.control.number)
        self._kernel.sysfs.remove(tty_node)
        self._kernel.ttys.remove(tty)
        if tty_device := plugged.attachment.device.serial:
            device = plugged.attachment.device
            tty_device.send = device.serial_to_endpoint if plugged.attachment.connected else _drop
        steps = [Step(tty_node.event("remove"), 0)]
        for number in function.numbers:
            plugged.attachment.holders.pop(number, None)
            node = plugged.interfaces[number]
            self._kernel.sysfs.bind(node, None)
            steps.append(Step(node.event("unbind"), 0))
        return steps

    # What usbfs asks for (attachment.Bindings).

    def unbind_driver(self, attachment: Attachment, interface: int) -> None:
        """A program detaches the kernel's driver."""
        plugged = self._current(attachment)
        if plugged is not None:
            self._kernel.announce(self._release_holder(plugged, interface))

    def probe_driver(self, attachment: Attachment, interface: int) -> bool:
        """A program gives an interface back: cdc_acm takes a function by its control interface if all is free."""
        plugged = self._current(attachment)
        function = self._function_of(plugged, interface) if plugged else None
        if plugged is None or function is None or function.control.number != interface:
            return False
        if any(number in attachment.holders for number in function.numbers):
            return False
        steps = self._bind_function(plugged, function)
        if function.data:
            data = plugged.interfaces[function.data.number]
            self._kernel.sysfs.bind(data, cdcacm.DRIVER)
            steps.insert(1, Step(data.event("bind", driver=cdcacm.DRIVER), 4))
        self._kernel.announce(steps)
        return True

    def show_claim(self, attachment: Attachment, interface: int, claimed: bool) -> None:
        """usbfs binds to or lets go of an interface."""
        plugged = self._current(attachment)
        if plugged is None:
            return
        node = plugged.interfaces[interface]
        driver = "usbfs" if claimed else None
        self._kernel.sysfs.bind(node, driver)
        self._kernel.announce([Step(node.event("bind" if claimed else "unbind", driver=driver), 0)])

    def _current(self, attachment: Attachment) -> _Plugged | None:
        plugged = self._plugged
        return plugged if plugged and plugged.attachment is attachment else None

    @staticmethod
    def _functions(plugged: _Plugged) -> list[Function]:
        device = plugged.attachment.device
        if device.serial is None:
            return []
        return cdcacm.functions(usbnodes.interfaces_of(device), device.interface_drivers)

    def _function_of(self, plugged: _Plugged, number: int) -> Function | None:
        return next((one for one in self._functions(plugged) if number in one.numbers), None)
