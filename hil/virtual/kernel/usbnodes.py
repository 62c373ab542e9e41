"""Turns a USB device on a port into what Linux shows of it: sysfs directories, device numbers, event properties.

Layout of sysfs as the real usbcore writes it; properties as in the golden events.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hil.virtual.kernel import udevrules, usbattributes
from hil.virtual.kernel.control import Control
from hil.virtual.kernel.udevrules import Identity
from hil.virtual.kernel.uevents import Uevent
from hil.virtual.kernel.usbconfig import Interface, first_settings, parse_interfaces
from hil.virtual.kernel.usbdevice import UsbDevice

USB_MAJOR = 189
_XHCI = {
    "class": "0x0c0330",
    "vendor": "0x8086",
    "device": "0xa0ed",
    "revision": "0x20",
    "irq": "0",
    "enable": "1",
}
_PORT = {
    "connect_type": "unknown",
    "early_stop": "no",
    "location": "0x00000000",
    "over_current_count": "0",
    "quirks": "00000000",
}


@dataclass(frozen=True, slots=True)
class Controller:
    """The host controller that the rack's bus hangs on."""

    devpath: str = "/devices/pci0000:00/0000:00:14.0"
    id_path: str = "pci-0000:00:14.0"
    bus: int = 1

    def device_path(self, port: str) -> str:
        """sysfs path of the device on ``port`` (``"1-1"``, ``"1-1.2"`` behind a hub, ``"usb1"`` the root hub)."""
        root = f"{self.devpath}/usb{self.bus}"
        if port.startswith("usb"):
            return root
        hubs = port.split(".")
        chain = [".".join(hubs[: count + 1]) for count in range(len(hubs))]
        return "/".join((root, *chain))

    def id_path_of(self, port: str) -> str:
        """ID_PATH of the device on ``port``."""
        if port.startswith("usb"):
            return self.id_path
        return f"{self.id_path}-usb-0:{port.split('-', 1)[1]}"


@dataclass(slots=True)
class Node:
    """One device of sysfs. ``kernel`` and ``udev`` are event properties, ``attributes`` files by name.

    ``controls`` are files whose writes mean something, ``driven`` those that are there while a driver is bound.
    ``kept`` are those of ``udev`` that its rules set on every event, an ``unbind`` too.
    """

    name: str
    devpath: str
    subsystem: str
    kernel: dict[str, str]
    udev: dict[str, str]
    attributes: dict[str, bytes]
    tags: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    device_number: tuple[int, int] | None = None
    driver: str | None = None
    controls: dict[str, Control] = field(default_factory=dict)
    driven: dict[str, bytes] = field(default_factory=dict)
    kept: tuple[str, ...] = ("ID_PATH", "ID_PATH_TAG")
    appeared: int = field(default_factory=lambda: time.monotonic_ns() // 1000)

    @property
    def database_name(self) -> str:
        """File name below /run/udev/data."""
        if self.device_number:
            return f"c{self.device_number[0]}:{self.device_number[1]}"
        if self.subsystem == "net":
            return f"n{self.kernel['IFINDEX']}"
        return f"+{self.subsystem}:{self.name}"

    def event(
        self, action: str, *, driver: str | None = None, more: Mapping[str, str] | None = None
    ) -> Uevent:
        """The kernel's event ``action`` of this node; ``driver`` is what is bound at that moment."""
        kernel = dict(self.kernel)
        if driver:
            kernel = _after(kernel, "DEVTYPE", {"DRIVER": driver})
        if action == "unbind":
            kernel.pop("MODALIAS", None)
        return Uevent(action, self.devpath, self.subsystem, kernel | dict(more or {}))

    def with_device_number(self, number: tuple[int, int]) -> Node:
        """The same node as character device ``number``."""
        kernel = {**self.kernel, "MAJOR": str(number[0]), "MINOR": str(number[1])}
        attributes = {**self.attributes, "dev": f"{number[0]}:{number[1]}\n".encode()}
        return replace(self, kernel=kernel, attributes=attributes, device_number=number)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a device sits: controller, port path and the device number the bus gave it."""

    controller: Controller
    port: str
    devnum: int


def device_node(device: UsbDevice, place: Place) -> Node:
    """The usb_device."""
    identity = Identity.of(device)
    bus = place.controller.bus
    descriptors = device.device_descriptor + device.configuration_descriptor
    kernel = {
        "DEVNAME": f"/dev/bus/usb/{bus:03d}/{place.devnum:03d}",
        "DEVTYPE": "usb_device",
        "PRODUCT": identity.product,
        "TYPE": identity.type,
        "BUSNUM": f"{bus:03d}",
        "DEVNUM": f"{place.devnum:03d}",
    }
    node = Node(
        place.port,
        place.controller.device_path(place.port),
        "usb",
        kernel,
        udevrules.device_properties(identity, descriptors, place.controller.id_path_of(place.port)),
        usbattributes.of_device(device, identity, bus, place.port, place.devnum),
        udevrules.device_tags(identity),
    )
    return node.with_device_number((USB_MAJOR, (bus - 1) * 128 + place.devnum - 1))


def interface_node(device: UsbDevice, place: Place, interface: Interface) -> Node:
    """One usb_interface."""
    identity = Identity.of(device)
    base = f"{place.controller.bus}-0" if place.port.startswith("usb") else place.port
    name = f"{base}:{device.configuration}.{interface.number}"
    path = place.controller.id_path_of(place.port)
    if place.port.startswith("usb"):
        path += "-usb-0:0"
    kernel = {
        "DEVTYPE": "usb_interface",
        "PRODUCT": identity.product,
        "TYPE": identity.type,
        "INTERFACE": "/".join(str(part) for part in interface.triple),
        "MODALIAS": udevrules.modalias(identity, interface),
    }
    return Node(
        name,
        f"{place.controller.device_path(place.port)}/{name}",
        "usb",
        kernel,
        udevrules.interface_properties(identity, f"{path}:{device.configuration}.{interface.number}"),
        usbattributes.of_interface(device, identity, interface),
        driven=usbattributes.of_function(device, interface) if interface.is_serial_control else {},
    )


def tty_node(
    device: UsbDevice, place: Place, interface: Interface, tty: str, number: tuple[int, int]
) -> Node:
    """The tty of a CDC ACM function; ``number`` is the device number of its node."""
    identity = Identity.of(device)
    parent = interface_node(device, place, interface)
    path = parent.udev["ID_PATH"]
    descriptors = device.device_descriptor + device.configuration_descriptor
    node = Node(
        tty,
        f"{parent.devpath}/tty/{tty}",
        "tty",
        {"DEVNAME": f"/dev/{tty}"},
        udevrules.tty_properties(identity, descriptors, interface, path),
        usbattributes.power(usbattributes.PLAIN_POWER),
        ("systemd",),
        udevrules.tty_links(identity, interface, path),
    )
    return node.with_device_number(number)


def controller_node(controller: Controller) -> Node:
    """The PCI device that the bus hangs on: lsusb names the driver of a root hub by it."""
    name = controller.devpath.rpartition("/")[2]
    kernel = {
        "DRIVER": "xhci_hcd",
        "PCI_CLASS": "C0330",
        "PCI_ID": "8086:A0ED",
        "PCI_SUBSYS_ID": "8086:7270",
        "PCI_SLOT_NAME": name,
        "MODALIAS": "pci:v00008086d0000A0EDsv00008086sd00007270bc0Csc03i30",
    }
    return Node(
        name,
        controller.devpath,
        "pci",
        kernel,
        udevrules.path_properties(controller.id_path),
        usbattributes.lines(_XHCI),
    )


def network_node(name: str, index: str) -> Node:
    """An interface of the rack's network."""
    return Node(
        name,
        f"/devices/virtual/net/{name}",
        "net",
        {"INTERFACE": name, "IFINDEX": index},
        {},
        {},
        ("systemd",),
    )


def port_node(hub: Node, number: int) -> Node:
    """A port of the hub whose interface is ``hub``. It belongs to no subsystem, so it has no events."""
    device = hub.devpath.split("/")[-2]
    name = f"{device}-port{number}"
    attributes = usbattributes.lines(_PORT) | usbattributes.power(usbattributes.PLAIN_POWER)
    attributes["uevent"] = b"DEVTYPE=usb_port\nDRIVER=usb\n"
    return Node(name, f"{hub.devpath}/{name}", "", {"DEVTYPE": "usb_port"}, {}, attributes)


def interfaces_of(device: UsbDevice) -> list[Interface]:
    """The interfaces that appear in sysfs, by number."""
    return first_settings(parse_interfaces(device.configuration_descriptor))


def _after(properties: dict[str, str], key: str, more: dict[str, str]) -> dict[str, str]:
    """``properties`` with ``more`` put behind ``key``."""
    found: dict[str, str] = {}
    for name, value in properties.items():
        found[name] = value
        if name == key:
            found |= more
    return found
