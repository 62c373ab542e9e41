"""A device on the bus from the kernel's side: who holds each interface, which files are open, is it still there.

Rules of usbcore and of drivers/usb/core/devio.c: a driver such as cdc_acm holds its interfaces; a file claims what is
free; using an unclaimed interface claims it; EBUSY while somebody else holds it.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from typing import Protocol

from hil.virtual.kernel.usbconfig import Interface, parse_interfaces
from hil.virtual.kernel.usbdevice import UsbDevice


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


class Attachment:
    """One device between plug and unplug. ``lock`` is the kernel's; no device code runs under it.

    ``present`` ends when the cable is pulled, ``connected`` when the kernel has noticed.
    """

    def __init__(self, device: UsbDevice, devnum: int, bindings: Bindings, lock: threading.RLock) -> None:
        self.device = device
        self.devnum = devnum
        self.lock = lock
        self.present = True
        self.connected = True
        self.holders: dict[int, Holder] = {}
        self.files: set[OpenUsb] = set()
        self._bindings = bindings
        self._control_lock = threading.RLock()
        self._settings = parse_interfaces(device.configuration_descriptor)
        self._gone: list[Callable[[], None]] = []

    @property
    def descriptors(self) -> bytes:
        """What reading the node gives."""
        return self.device.device_descriptor + self.device.configuration_descriptor

    @property
    def control_lock(self) -> threading.RLock:
        """Endpoint 0 carries one transfer at a time."""
        return self._control_lock

    def has_interface(self, interface: int) -> bool:
        return any(one.number == interface for one in self._settings)

    def setting(self, interface: int, alternate: int) -> Interface | None:
        """The alternate setting, or ``None`` when the device has no such."""
        for one in self._settings:
            if (one.number, one.alternate) == (interface, alternate):
                return one
        return None

    def interface_of_endpoint(self, address: int) -> int:
        """The interface that ``address`` belongs to now. Raises ``OSError`` ENOENT."""
        for one in self._settings:
            if one.alternate != self.device.alternate.get(one.number, 0):
                continue
            if any(endpoint.address == address for endpoint in one.endpoints):
                return one.number
        raise OSError(errno.ENOENT, f"no endpoint {address:#04x}")

    def endpoint_type(self, address: int) -> int:
        """2 bulk, 3 interrupt... of an endpoint that ``interface_of_endpoint`` found."""
        for one in self._settings:
            for endpoint in one.endpoints:
                if endpoint.address == address:
                    return endpoint.type
        raise OSError(errno.ENOENT, f"no endpoint {address:#04x}")

    def driver_of(self, interface: int) -> str | None:
        """Name of the bound driver; ``usbfs`` for a file's claim."""
        with self.lock:
            holder = self.holders.get(interface)
            return holder if holder is None or isinstance(holder, str) else "usbfs"

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
            self.holders[interface] = file
            self._bindings.show_claim(self, interface, True)

    def release(self, file: OpenUsb, interface: int) -> None:
        """Takes ``interface`` from ``file``. Raises ``OSError`` EINVAL when it does not hold it."""
        with self.lock:
            if self.holders.get(interface) is not file:
                raise OSError(errno.EINVAL, f"interface {interface} is not claimed by this file")
            del self.holders[interface]
            if self.connected:
                self._bindings.show_claim(self, interface, False)

    def disconnect_driver(self, interface: int) -> None:
        """Unbinds whoever holds ``interface``. Raises ``OSError`` ENODATA when nobody does."""
        with self.lock:
            holder = self.holders.get(interface)
            if holder is None:
                raise OSError(errno.ENODATA, f"no driver on interface {interface}")
            if isinstance(holder, str):
                self._bindings.unbind_driver(self, interface)
                return
            self.release(holder, interface)
        holder.lost_interface(interface)

    def connect_driver(self, interface: int) -> bool:
        """Lets the kernel's driver take ``interface`` again. Raises ``OSError`` EBUSY when it is held."""
        with self.lock:
            if self.holders.get(interface) is not None:
                raise OSError(errno.EBUSY, f"interface {interface} has a driver")
            return self._bindings.probe_driver(self, interface)

    def reset(self) -> None:
        """USBDEVFS_RESET. Raises ``OSError`` ENODEV."""
        with self.lock:
            held = [(number, file) for number, file in self.holders.items() if not isinstance(file, str)]
        self._bindings.reset_device(self)
        for interface, file in held:
            file.lost_interface(interface)

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
            for interface in [number for number, holder in self.holders.items() if holder is file]:
                self.release(file, interface)

    def disconnect(self) -> None:
        """The device left the bus."""
        with self.lock:
            self.present = self.connected = False
            files = list(self.files)
        for file in files:
            file.lost_device()
