"""Turns a USB device on a port into what Linux shows of it: sysfs directories, device numbers, event properties.

Layout of sysfs as the real usbcore writes it; properties as in the golden events.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hil.virtual.kernel import udevrules
from hil.virtual.kernel.udevrules import Identity
from hil.virtual.kernel.uevents import Uevent
from hil.virtual.kernel.usbconfig import Endpoint, Interface, first_settings, parse_interfaces
from hil.virtual.kernel.usbdevice import UsbDevice

USB_MAJOR = 189
_ENDPOINT_TYPES = ("Control", "Isoc", "Bulk", "Interrupt")


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
    kept: tuple[str, ...] = ("ID_PATH", "ID_PATH_TAG")
    appeared: int = field(default_factory=lambda: time.monotonic_ns() // 1000)

    @property
    def database_name(self) -> str:
        """File name below /run/udev/data."""
        if self.device_number:
            return f"c{self.device_number[0]}:{self.device_number[1]}"
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
        _device_attributes(device, identity, place),
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
        _interface_attributes(device, identity, interface),
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
        {},
        ("systemd",),
        udevrules.tty_links(identity, interface, path),
    )
    return node.with_device_number(number)


def interfaces_of(device: UsbDevice) -> list[Interface]:
    """The interfaces that appear in sysfs, by number."""
    return first_settings(parse_interfaces(device.configuration_descriptor))


def _device_attributes(device: UsbDevice, identity: Identity, place: Place) -> dict[str, bytes]:
    data, configuration = device.device_descriptor, device.configuration_descriptor
    power_unit = 2
    texts = {
        "authorized": "1",
        "avoid_reset_quirk": "0",
        "bConfigurationValue": str(device.configuration),
        "bDeviceClass": f"{data[4]:02x}",
        "bDeviceSubClass": f"{data[5]:02x}",
        "bDeviceProtocol": f"{data[6]:02x}",
        "bMaxPacketSize0": str(data[7]),
        "bMaxPower": f"{configuration[8] * power_unit}mA",
        "bNumConfigurations": str(data[17]),
        "bNumInterfaces": f"{configuration[4]:2d}",
        "bcdDevice": f"{identity.revision:04x}",
        "bmAttributes": f"{configuration[7]:02x}",
        "busnum": str(place.controller.bus),
        "configuration": device.strings.get(configuration[6], ""),
        "devnum": str(place.devnum),
        "devpath": "0" if place.port.startswith("usb") else place.port.split("-", 1)[1],
        "idProduct": f"{identity.product_id:04x}",
        "idVendor": f"{identity.vendor_id:04x}",
        "ltm_capable": "no",
        "maxchild": str(getattr(device, "ports", 0)),
        "quirks": "0x0",
        "removable": "unknown",
        "rx_lanes": "1",
        "tx_lanes": "1",
        "speed": device.speed,
        "urbnum": "0",
        "version": f"{data[3]:2x}.{data[2]:02x}",
    }
    strings = {"manufacturer": identity.vendor, "product": identity.model, "serial": identity.serial}
    texts |= {name: text for name, text in strings.items() if text}
    found = {name: f"{text}\n".encode() for name, text in texts.items()}
    found["descriptors"] = data + configuration
    return found | _endpoint_attributes(Endpoint(0, 0, data[7], 0))


def _interface_attributes(device: UsbDevice, identity: Identity, interface: Interface) -> dict[str, bytes]:
    texts = {
        "authorized": "1",
        "bAlternateSetting": f"{interface.alternate:2d}",
        "bInterfaceClass": f"{interface.cls:02x}",
        "bInterfaceNumber": f"{interface.number:02x}",
        "bInterfaceProtocol": f"{interface.protocol:02x}",
        "bInterfaceSubClass": f"{interface.subclass:02x}",
        "bNumEndpoints": f"{len(interface.endpoints):02x}",
        "modalias": udevrules.modalias(identity, interface),
        "supports_autosuspend": "1",
    }
    if interface.string in device.strings:
        texts["interface"] = device.strings[interface.string]
    found = {name: f"{text}\n".encode() for name, text in texts.items()}
    for endpoint in interface.endpoints:
        found |= _endpoint_attributes(endpoint)
    return found


def _endpoint_attributes(endpoint: Endpoint) -> dict[str, bytes]:
    direction = "both" if endpoint.type == 0 else "in" if endpoint.is_in else "out"
    texts = {
        "bEndpointAddress": f"{endpoint.address:02x}",
        "bInterval": f"{endpoint.interval:02x}",
        "bLength": "07",
        "bmAttributes": f"{endpoint.attributes:02x}",
        "direction": direction,
        "interval": f"{endpoint.interval}ms",
        "type": _ENDPOINT_TYPES[endpoint.type],
        "wMaxPacketSize": f"{endpoint.max_packet:04x}",
    }
    return {f"ep_{endpoint.address:02x}/{name}": f"{text}\n".encode() for name, text in texts.items()}


def _after(properties: dict[str, str], key: str, more: dict[str, str]) -> dict[str, str]:
    """``properties`` with ``more`` put behind ``key``."""
    found: dict[str, str] = {}
    for name, value in properties.items():
        found[name] = value
        if name == key:
            found |= more
    return found
