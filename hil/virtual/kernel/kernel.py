"""The virtual kernel: private namespaces in which unmodified USB, udev and tty programs see virtual boards.

``enter`` takes the (single-threaded) process into its namespaces, ``start`` brings up the bus, ``port`` gives the
sockets that boards plug into. Mechanism: virtual rack fact sheet 2b, rootless fact sheet 1.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterable
from pathlib import Path

from hil.errors import UsageError
from hil.virtual.kernel import namespaces, usbnodes
from hil.virtual.kernel.attachment import Attachment, Way
from hil.virtual.kernel.devusb import DevUsb
from hil.virtual.kernel.enumerated import Step
from hil.virtual.kernel.hubthread import HubThread
from hil.virtual.kernel.port import Port
from hil.virtual.kernel.roothub import MOST_PORTS, RootHub
from hil.virtual.kernel.seccomp import TtyCalls
from hil.virtual.kernel.sysfs import Sysfs
from hil.virtual.kernel.timing import AT_ONCE, Timing
from hil.virtual.kernel.ttyhub import TtyHub
from hil.virtual.kernel.udevd import Udevd
from hil.virtual.kernel.udevdb import UdevDatabase
from hil.virtual.kernel.uevents import UeventSocket
from hil.virtual.kernel.usbnodes import Controller, Place

PORTS = 8  # unless more are asked for
_BUS = 1
_MAX_DEVNUM = 127


def port_paths() -> tuple[str, ...]:
    """The USB port paths that a rack can have, ``"1-1"`` and so on."""
    return tuple(f"{_BUS}-{number}" for number in range(1, MOST_PORTS + 1))


class VirtualKernel:
    """One rack's kernel. ``base`` is a directory of its own, of the user, outside /run."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.ports = PORTS
        self.lock = threading.RLock()
        self.timing = AT_ONCE
        self.controller = Controller()
        self.sysfs = Sysfs()
        self._ports: dict[str, Port] = {}
        self._devnums: set[int] = {1}
        self._last_devnum = 1
        self._hub_thread = HubThread()

    def enter(self) -> None:
        """Enters the namespaces. Raises ``trouble.RackRefused``."""
        namespaces.enter(self.base)

    def start(self, ports: Iterable[str] = ()) -> None:
        """Brings up bus, ttys and events; from here on the process has threads.

        The bus has the port paths ``ports`` and at least eight in all. Raises ``UsageError`` for one it cannot have.
        """
        known = port_paths()
        for path in ports:
            if path not in known:
                raise UsageError(f"no USB port {path!r}", expected=f"{known[0]} to {known[-1]}")
            self.ports = max(self.ports, known.index(path) + 1)
        self.usbfs = DevUsb(Path("/dev/bus/usb"), self.controller.bus)
        self.ttys = TtyHub()
        self.calls = TtyCalls(self.ttys)
        self._events = UeventSocket()
        self._udevd = Udevd(UdevDatabase(), self._events.send_udev)
        self.usbfs.start()
        self.ttys.start()
        self._add_root_hub()

    def take_time(self, timing: Timing) -> None:
        """From here on plugging takes as long as ``timing`` says; what was plugged before was there at the start."""
        self._udevd.start(timing)
        self._hub_thread.start()
        with self.lock:
            self.timing = timing

    def port(self, path: str) -> Port:
        """The port at ``path`` (``"1-1"`` and so on)."""
        known = port_paths()[: self.ports]
        if path not in known:
            raise UsageError(f"no USB port {path!r}", expected=f"{known[0]} to {known[-1]}")
        with self.lock:
            return self._ports.setdefault(path, Port(self, path))

    def under_way(self) -> frozenset[int]:
        """Names of the requests to usbfs that a device has not answered yet."""
        usbfs: DevUsb | None = getattr(self, "usbfs", None)
        return usbfs.under_way if usbfs else frozenset()

    def close(self) -> None:
        """Unplugs what is plugged and takes the nodes away."""
        with self.lock:
            self.timing = AT_ONCE
        self._hub_thread.stop()
        self._udevd.stop()
        for port in list(self._ports.values()):
            port.detach()
        self.usbfs.stop()
        self.ttys.stop()
        self._events.close()

    # What ports use (port.Bus), with ``lock`` held.

    def next_devnum(self) -> int:
        """The next free device number of the bus, counting on as the real kernel does."""
        following = [*range(self._last_devnum + 1, _MAX_DEVNUM + 1), *range(2, self._last_devnum + 1)]
        number: int = next(number for number in following if number not in self._devnums)
        self._devnums.add(number)
        self._last_devnum = number
        return number

    def free_devnum(self, number: int) -> None:
        self._devnums.discard(number)

    def announce(self, steps: list[Step]) -> None:
        """Sends the kernel's events, and has udev handle them."""
        first = self._events.number(len(steps))
        for seqnum, step in enumerate(steps, start=first):
            self._events.send_kernel(step.event, seqnum)
        self._udevd.handle(first, steps)

    def changed(self, port: Port, delay: float = 0.0) -> None:
        """The hub looks at ``port``; at once where nothing takes time."""
        if self.timing.is_real:
            self._hub_thread.changed(port, delay)
        else:
            port.look()

    def pause(self, seconds: float) -> None:
        self._hub_thread.pause(seconds)

    def _add_root_hub(self) -> None:
        """The hub is there from the start: nobody can listen yet, so no events."""
        bus_info = self.controller.id_path.removeprefix("pci-")
        self.hub = RootHub(self.ports, bus_info, self._devnum_on)
        place = Place(self.controller, f"usb{self.controller.bus}", 1)
        self.sysfs.add_controller(self.controller)
        node = usbnodes.device_node(self.hub, place)
        self.sysfs.add(node)
        self._udevd.know(node)
        self.sysfs.bind(node, "usb")
        attachment = Attachment(self.hub, 1, _HubBindings(), self.lock, Way(self.controller.bus))
        for interface in usbnodes.interfaces_of(self.hub):
            child = usbnodes.interface_node(self.hub, place, interface)
            self.sysfs.add(child)
            self._udevd.know(child)
            self.sysfs.bind(child, "hub")
            attachment.holders[interface.number] = "hub"
        self.usbfs.add(attachment)

    def _devnum_on(self, number: int) -> int:
        port = self._ports.get(f"{self.controller.bus}-{number}")
        return port.devnum if port is not None else 0


class _HubBindings:
    """The hub's driver stays bound: nobody may take it, for the bus would go with it."""

    def unbind_driver(self, attachment: Attachment, interface: int) -> None:
        raise PermissionError(
            1, f"the root hub keeps its driver on interface {interface} of device {attachment.devnum}"
        )

    def probe_driver(self, attachment: Attachment, interface: int) -> bool:
        return attachment.driver_of(interface) is not None

    def show_claim(self, attachment: Attachment, interface: int, claimed: bool) -> None:
        """Never happens while the driver is bound."""

    def reset_device(self, attachment: Attachment) -> None:
        raise OSError(errno.EISDIR, f"the root hub, device {attachment.devnum}, is not reset")
