"""A device on the bus from the kernel's side: who holds each interface, which files are open, is it still there.

Rules of usbcore and of drivers/usb/core/devio.c: a driver such as cdc_acm holds its interfaces; a file claims what is
free; using an unclaimed interface claims it; EBUSY while somebody else holds it.
"""

from __future__ import annotations

import errno
import threading
from dataclasses import dataclass
from typing import Protocol

from hil.virtual.kernel.usbconfig import Interface, parse_interfaces
from hil.virtual.kernel.usbdevice import NoAnswer, Setup, UsbDevice
from hil.virtual.kernel.usbfs_abi import MOST_INTERFACES


class OpenUsb(Protocol):
    """An open file of usbfs, as its device sees it."""

    def lost_interface(self, interface: int) -> None:
        """Somebody took the interface away: its transfers end."""

    def lost_device(self) -> None:
        """The device left the bus."""


Holder = str | OpenUsb


class Bindings(Protocol):
    """What the kernel does when holders change: sysfs, events, ttys. Called with ``Attachment.lock`` held."""

    def unbind_driver(self, attachment: Attachment, interface: int) -> None:
        """A kernel driver lets go of ``interface`` and of what belongs to it."""

    def probe_driver(self, attachment: Attachment, interface: int) -> bool:
        """Offers ``interface`` to the driver that would take it. True when one did."""

    def show_claim(self, attachment: Attachment, interface: int, claimed: bool) -> None:
        """usbfs itself is a driver in sysfs while a file holds an interface."""

    def reset_device(self, attachment: Attachment) -> None:
        """The bus is reset: drivers and claims go, drivers come back. Called without ``Attachment.lock``."""


@dataclass(frozen=True, slots=True)
class Way:
    """Where a device hangs: the number of the bus and the port of each hub from the root on; none for a root hub."""

    bus: int = 1
    ports: tuple[int, ...] = ()


_ROOT = Way()


class Attachment:
    """One device between plug and unplug. ``lock`` is the kernel's; no device code runs under it.

    ``present`` ends when the cable is pulled, ``connected`` when the kernel has noticed.
    """

    def __init__(
        self, device: UsbDevice, devnum: int, bindings: Bindings, lock: threading.RLock, way: Way = _ROOT
    ) -> None:
        self.device = device
        self.devnum = devnum
        self.way = way
        self.lock = lock
        self.present = True
        self.connected = True
        self.holders: dict[int, Holder] = {}
        self.files: set[OpenUsb] = set()
        self.unauthorized: set[int] = set()  # interfaces that no driver may take
        self._lost: list[tuple[int, OpenUsb]] = []
        self._port_owners: dict[int, OpenUsb] = {}
        self._bindings = bindings
        self._control_lock = threading.RLock()
        self._settings = parse_interfaces(device.configuration_descriptor)

    @property
    def descriptors(self) -> bytes:
        """What reading the node gives."""
        return self.device.device_descriptor + self.device.configuration_descriptor

    @property
    def control_lock(self) -> threading.RLock:
        """Endpoint 0 carries one transfer at a time."""
        return self._control_lock

    # Transfers reach the device while its cable is plugged in.

    def control(self, setup: Setup, data: bytes) -> bytes:
        """``UsbDevice.control``. Raises ``Stall``, and ``NoAnswer`` once the cable is pulled."""
        self._reach()
        return self.device.control(setup, data)

    def bulk_out(self, endpoint: int, data: bytes) -> None:
        """``UsbDevice.bulk_out``. Raises ``Stall``, and ``NoAnswer`` once the cable is pulled."""
        self._reach()
        self.device.bulk_out(endpoint, data)

    def bulk_in(self, endpoint: int, length: int) -> bytes | None:
        """``UsbDevice.bulk_in``; nothing comes once the cable is pulled. Raises ``Stall``."""
        return self.device.bulk_in(endpoint, length) if self.present else None

    def _reach(self) -> None:
        if not self.present:
            raise NoAnswer("the cable is pulled")

    @property
    def _active(self) -> list[Interface]:
        """The settings that the device has now: none while it is not configured."""
        return self._settings if self.device.configuration else []

    def has_interface(self, interface: int) -> bool:
        return any(one.number == interface for one in self._active)

    def setting(self, interface: int, alternate: int) -> Interface | None:
        """The alternate setting, or ``None`` when the device has no such."""
        for one in self._active:
            if (one.number, one.alternate) == (interface, alternate):
                return one
        return None

    def interface_of_endpoint(self, address: int) -> int:
        """The interface that ``address`` belongs to now. Raises ``OSError`` ENOENT, EINVAL for what is no address."""
        if address & ~0x8F:
            raise OSError(errno.EINVAL, f"no endpoint address {address:#x}")
        for one in self._active:
            if one.alternate != self.device.alternate.get(one.number, 0):
                continue
            if any(endpoint.address == address for endpoint in one.endpoints):
                return one.number
        raise OSError(errno.ENOENT, f"no endpoint {address:#04x}")

    def endpoint_type(self, address: int) -> int:
        """2 bulk, 3 interrupt... of an endpoint that ``interface_of_endpoint`` found."""
        for one in self._active:
            for endpoint in one.endpoints:
                if endpoint.address == address:
                    return endpoint.type
        raise OSError(errno.ENOENT, f"no endpoint {address:#04x}")

    def driver_of(self, interface: int) -> str | None:
        """Name of the bound driver; ``usbfs`` for a file's claim."""
        with self.lock:
            holder = self.holders.get(interface)
            return holder if holder is None or isinstance(holder, str) else "usbfs"

    def holds(self, file: OpenUsb, interface: int) -> bool:
        """Whether ``file`` has claimed ``interface``."""
        with self.lock:
            return self.holders.get(interface) is file

    def claim(self, file: OpenUsb, interface: int) -> None:
        """Gives ``interface`` to ``file``. Raises ``OSError`` ENOENT, EBUSY or ENODEV."""
        with self.lock:
            if not self.connected:
                raise OSError(errno.ENODEV, "unplugged")
            holder = self.holders.get(interface)
            if holder is file:
                return
            if not self.has_interface(interface):
                raise OSError(errno.ENOENT, f"no interface {interface}")
            if holder is not None:
                raise OSError(errno.EBUSY, f"interface {interface} is held by {self.driver_of(interface)}")
            if interface in self.unauthorized:
                raise OSError(errno.ENODEV, f"interface {interface} is not authorized")
            self.holders[interface] = file
            self._bindings.show_claim(self, interface, True)

    def release(self, file: OpenUsb, interface: int) -> None:
        """Takes ``interface`` from ``file``. Raises ``OSError`` EINVAL when it does not hold it, ENOENT for none."""
        with self.lock:
            if interface < MOST_INTERFACES and not self.has_interface(interface):
                raise OSError(errno.ENOENT, f"no interface {interface}")
            if self.holders.get(interface) is not file:
                raise OSError(errno.EINVAL, f"interface {interface} is not claimed by this file")
            del self.holders[interface]
            if self.connected:
                self._bindings.show_claim(self, interface, False)

    def disconnect_driver(self, interface: int) -> None:
        """Unbinds whoever holds ``interface``. Raises ``OSError`` ENODATA when nobody does."""
        with self.lock:
            if self.holders.get(interface) is None:
                raise OSError(errno.ENODATA, f"no driver on interface {interface}")
            self._bindings.unbind_driver(self, interface)
        self.tell_lost()

    def drop_holder(self, interface: int) -> None:
        """Nobody holds ``interface`` any more; a file that did hears of it by ``tell_lost``."""
        holder = self.holders.pop(interface, None)
        if holder is not None and not isinstance(holder, str):
            self._lost.append((interface, holder))

    def tell_lost(self) -> None:
        """Files hear which claims were taken from them. Without the lock, for their transfers end."""
        with self.lock:
            lost, self._lost = self._lost, []
        for interface, file in lost:
            file.lost_interface(interface)

    def connect_driver(self, interface: int) -> bool:
        """Lets the kernel's driver take ``interface`` again. Raises ``OSError`` EBUSY when it is held."""
        with self.lock:
            if self.holders.get(interface) is not None:
                raise OSError(errno.EBUSY, f"interface {interface} has a driver")
            return self._bindings.probe_driver(self, interface)

    def reset(self) -> None:
        """USBDEVFS_RESET. Raises ``OSError`` ENODEV."""
        try:
            self._bindings.reset_device(self)
        finally:
            self.tell_lost()

    def claim_port(self, file: OpenUsb, port: int) -> None:
        """Gives the hub's ``port`` to ``file``. Raises ``OSError`` EINVAL or EBUSY."""
        with self.lock:
            if not 1 <= port <= self.device.ports:
                raise OSError(errno.EINVAL, f"no port {port}")
            if port in self._port_owners:
                raise OSError(errno.EBUSY, f"port {port} has an owner")
            self._port_owners[port] = file

    def release_port(self, file: OpenUsb, port: int) -> None:
        """Takes it back. Raises ``OSError`` EINVAL, ENOENT when it is not this file's."""
        with self.lock:
            if not 1 <= port <= self.device.ports:
                raise OSError(errno.EINVAL, f"no port {port}")
            if self._port_owners.get(port) is not file:
                raise OSError(errno.ENOENT, f"port {port} is not claimed by this file")
            del self._port_owners[port]

    def opened(self, file: OpenUsb) -> None:
        """``file`` is open on this device. Raises ``OSError`` ENODEV."""
        with self.lock:
            if not self.connected:
                raise OSError(errno.ENODEV, "unplugged")
            self.files.add(file)

    def closed(self, file: OpenUsb) -> None:
        """``file`` is gone and with it its claims."""
        with self.lock:
            self.files.discard(file)
            self._port_owners = {port: one for port, one in self._port_owners.items() if one is not file}
            for interface in [number for number, holder in self.holders.items() if holder is file]:
                self.release(file, interface)

    def disconnect(self) -> None:
        """The device left the bus."""
        with self.lock:
            self.present = self.connected = False
            files = list(self.files)
        for file in files:
            file.lost_device()
