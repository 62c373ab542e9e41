"""The virtual kernel: private namespaces in which unmodified USB, udev and tty programs see virtual boards.

``enter`` takes the (single-threaded) process into its namespaces, ``start`` brings up the bus, ``port`` gives the
sockets that boards plug into. Mechanism: virtual rack fact sheet 2b, rootless fact sheet 1.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from hil.errors import UsageError
from hil.virtual.kernel import namespaces
from hil.virtual.kernel.attributefiles import AttributeFiles
from hil.virtual.kernel.devusb import DevUsb
from hil.virtual.kernel.drivers import UsbDrivers
from hil.virtual.kernel.enumerated import Enumerated, Policy, Step
from hil.virtual.kernel.hubface import show_hub
from hil.virtual.kernel.hubthread import HubThread
from hil.virtual.kernel.port import Port
from hil.virtual.kernel.reannounce import asked_event
from hil.virtual.kernel.roothub import MOST_PORTS, RootHub
from hil.virtual.kernel.seccomp import TtyCalls
from hil.virtual.kernel.sysfs import Sysfs
from hil.virtual.kernel.timing import AT_ONCE, Timing
from hil.virtual.kernel.ttyhub import TtyHub
from hil.virtual.kernel.udevcontrol import UdevControl
from hil.virtual.kernel.udevd import Udevd
from hil.virtual.kernel.udevdb import UdevDatabase
from hil.virtual.kernel.uevents import UeventSocket
from hil.virtual.kernel.usbnodes import Controller, Node

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
        self.policy = Policy()
        self.controller = Controller()
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
        self._udev_control = UdevControl()
        self._files = AttributeFiles()
        self.sysfs = Sysfs(self._files, self._reannounce)
        self.usbfs.start()
        self.ttys.start()
        self._files.start()
        self._show_hub()

    def _show_hub(self) -> None:
        bus = self.controller.bus
        self.hub = RootHub(self.ports, self.controller.id_path.removeprefix("pci-"), self._devnum_on)
        self._hub_face = show_hub(
            self.sysfs,
            self.controller,
            self.hub,
            self.lock,
            self.policy,
            lambda number: self.port(f"{bus}-{number}"),
        )
        for node in (*self._hub_face.nodes, *self.sysfs.network_nodes()):
            self._udevd.know(node)
        self.usbfs.add(self._hub_face.attachment)
        UsbDrivers(self).show(self.sysfs)

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
        self._files.stop()
        self.ttys.stop()
        self._udev_control.close()
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

    def show_device(self, path: str, node: Node | None) -> None:
        self._hub_face.show_device(self.sysfs, _number_of(path), node)

    # What the drivers' files use (drivers.Devices).

    @property
    def root_hub_nodes(self) -> list[Node]:
        return self._hub_face.nodes

    def enumerated(self) -> list[Enumerated]:
        """The devices on the bus."""
        with self.lock:
            return [port.known for port in self._ports.values() if port.known is not None]

    def change(self, known: Enumerated, action: Callable[[], list[Step]]) -> None:
        """Runs ``action`` with the lock held and sends its events. Raises ``OSError`` ENODEV for one that has left."""
        with self.lock:
            if not known.attachment.connected:
                raise OSError(errno.ENODEV, "unplugged")
            self.announce(action())
        known.attachment.tell_lost()

    def _reannounce(self, node: Node, text: str) -> None:
        event = asked_event(node, text)
        with self.lock:
            self.announce([Step(node, event)])

    def _devnum_on(self, number: int) -> int:
        port = self._ports.get(f"{self.controller.bus}-{number}")
        return port.devnum if port is not None else 0


def _number_of(path: str) -> int:
    """The port's number on its hub."""
    return int(path.rpartition("-")[2])
