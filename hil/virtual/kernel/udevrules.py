"""The properties that udev's rules give a USB device, its interfaces and its tty.

What the builtins usb_id, path_id and hwdb and the seat and serial rules would set, as recorded from a real kernel and
udevd in the golden events. Text that a board sends is cleaned as udev cleans it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hil.virtual.kernel.usbconfig import Interface
from hil.virtual.kernel.usbdevice import UsbDevice

# (device class, subclass, protocol), None for any -> names in the hardware database.
_CLASS_NAMES = {0x02: "Communications", 0x09: "Hub", 0xEF: "Miscellaneous Device"}
_PROTOCOL_NAMES = {
    (0xEF, 0x02, 0x01): "Interface Association",
    (0x09, 0x00, 0x00): "Full speed (or root) hub",
}
_VENDOR_NAMES = {0x1D50: "OpenMoko, Inc.", 0x1D6B: "Linux Foundation"}
_MODEL_NAMES = {
    (0x1D50, 0x607F): "Spark Core Arduino-compatible board with WiFi",
    (0x1D6B, 0x0002): "2.0 root hub",
}
_SEAT_CLASSES = (0x00, 0x09)
_UNSAFE = re.compile(r"[^0-9A-Za-z#+\-.:=@_/]")
_UNSAFE_ENCODED = re.compile(r"[^0-9A-Za-z#+\-.:=@_]")


@dataclass(frozen=True, slots=True)
class Identity:
    """What udev reads of a device: numbers and cleaned strings."""

    vendor_id: int
    product_id: int
    revision: int
    cls: tuple[int, int, int]
    vendor: str
    model: str
    serial: str

    @classmethod
    def of(cls, device: UsbDevice) -> Identity:
        """From the descriptors and strings of ``device``."""
        data = device.device_descriptor
        numbers = [int.from_bytes(data[at : at + 2], "little") for at in (8, 10, 12)]
        texts = [device.strings.get(data[at], "") for at in (14, 15, 16)]
        return cls(numbers[0], numbers[1], numbers[2], (data[4], data[5], data[6]), *texts)

    @property
    def product(self) -> str:
        """PRODUCT of the kernel's events."""
        return f"{self.vendor_id:x}/{self.product_id:x}/{self.revision:x}"

    @property
    def type(self) -> str:
        """TYPE of the kernel's events."""
        return "/".join(str(number) for number in self.cls)

    @property
    def full_serial(self) -> str:
        """ID_SERIAL: vendor, model and serial number joined."""
        vendor = clean(self.vendor) or f"{self.vendor_id:04x}"
        model = clean(self.model) or f"{self.product_id:04x}"
        return "_".join(part for part in (vendor, model, clean(self.serial)) if part)


def clean(text: str) -> str:
    """White space at the ends goes, inside it becomes one ``_``; so does every character udev holds unsafe."""
    return _UNSAFE.sub("_", re.sub(r"\s+", "_", text.strip()))


def encode(text: str) -> str:
    """The ``_ENC`` form: unsafe characters as ``\\x20``."""
    return _UNSAFE_ENCODED.sub(lambda match: "".join(f"\\x{byte:02x}" for byte in match[0].encode()), text)


def path_tag(path: str) -> str:
    """ID_PATH_TAG of an ID_PATH."""
    return re.sub(r"[^0-9A-Za-z-]+", "_", path).strip("_")


def packed_interfaces(descriptors: bytes) -> str:
    """ID_USB_INTERFACES from the device and configuration descriptors.

    As udev's: each class once, and an interface descriptor that ends the set is not seen (a board's control interface
    has no endpoints, so it is missing in the golden events).
    """
    seen: list[str] = []
    offset = 0
    while offset + 9 < len(descriptors):
        length = descriptors[offset]
        if length < 3:
            break
        if descriptors[offset + 1] == 4:
            triple = descriptors[offset + 5 : offset + 8].hex()
            if triple not in seen:
                seen.append(triple)
        offset += length
    return ":" + "".join(f"{triple}:" for triple in seen) if seen else ""


def path_properties(id_path: str) -> dict[str, str]:
    """What path_id sets."""
    return {"ID_PATH": id_path, "ID_PATH_TAG": path_tag(id_path)}


def device_properties(identity: Identity, descriptors: bytes, id_path: str) -> dict[str, str]:
    """Of a usb_device."""
    found = {"ID_BUS": "usb", **_names(identity, "", with_type=False)}
    found |= _names(identity, "USB_", with_type=False)
    found["ID_USB_INTERFACES"] = packed_interfaces(descriptors)
    found |= _vendor_database(identity)
    found |= path_properties(id_path)
    if identity.cls[0] in _SEAT_CLASSES:
        found["ID_FOR_SEAT"] = f"usb-{path_tag(id_path)}"
    return found


def device_tags(identity: Identity) -> tuple[str, ...]:
    """Tags of a usb_device: plain devices and hubs belong to a seat."""
    return ("seat",) if identity.cls[0] in _SEAT_CLASSES else ()


def interface_properties(identity: Identity, id_path: str) -> dict[str, str]:
    """Of a usb_interface."""
    return {**_vendor_database(identity), **_class_database(identity), **path_properties(id_path)}


def tty_properties(
    identity: Identity, descriptors: bytes, interface: Interface, id_path: str
) -> dict[str, str]:
    """Of the tty that cdc_acm makes."""
    found = {
        "ID_BUS": "usb",
        **_names(identity, "", with_type=True),
        **_names(identity, "USB_", with_type=True),
    }
    found["ID_USB_INTERFACES"] = packed_interfaces(descriptors)
    found["ID_USB_INTERFACE_NUM"] = f"{interface.number:02x}"
    found["ID_USB_DRIVER"] = "cdc_acm"
    return found | _vendor_database(identity) | _class_database(identity) | path_properties(id_path)


def tty_links(identity: Identity, interface: Interface, id_path: str) -> tuple[str, ...]:
    """The links below /dev/serial that point to the tty."""
    by_id = f"/dev/serial/by-id/usb-{identity.full_serial}-if{interface.number:02x}"
    return by_id, f"/dev/serial/by-path/{id_path}"


def modalias(identity: Identity, interface: Interface) -> str:
    """MODALIAS of an interface."""
    device = f"usb:v{identity.vendor_id:04X}p{identity.product_id:04X}d{identity.revision:04X}"
    classes = [f"{key}{value:02X}" for key, value in zip(("dc", "dsc", "dp"), identity.cls, strict=True)]
    classes += [f"{key}{value:02X}" for key, value in zip(("ic", "isc", "ip"), interface.triple, strict=True)]
    return device + "".join(classes) + f"in{interface.number:02X}"


def _names(identity: Identity, prefix: str, *, with_type: bool) -> dict[str, str]:
    vendor, model = f"{identity.vendor_id:04x}", f"{identity.product_id:04x}"
    serial = clean(identity.serial)
    found = {
        f"ID_{prefix}MODEL": clean(identity.model) or model,
        f"ID_{prefix}MODEL_ENC": encode(identity.model) or model,
        f"ID_{prefix}MODEL_ID": model,
        f"ID_{prefix}SERIAL": identity.full_serial,
    }
    if serial:
        found[f"ID_{prefix}SERIAL_SHORT"] = serial
    found |= {
        f"ID_{prefix}VENDOR": clean(identity.vendor) or vendor,
        f"ID_{prefix}VENDOR_ENC": encode(identity.vendor) or vendor,
        f"ID_{prefix}VENDOR_ID": vendor,
        f"ID_{prefix}REVISION": f"{identity.revision:04x}",
    }
    if with_type:
        found[f"ID_{prefix}TYPE"] = "generic"
    return found


def _vendor_database(identity: Identity) -> dict[str, str]:
    found = {}
    if name := _VENDOR_NAMES.get(identity.vendor_id):
        found["ID_VENDOR_FROM_DATABASE"] = name
    if name := _MODEL_NAMES.get((identity.vendor_id, identity.product_id)):
        found["ID_MODEL_FROM_DATABASE"] = name
    return found


def _class_database(identity: Identity) -> dict[str, str]:
    found = {}
    if name := _CLASS_NAMES.get(identity.cls[0]):
        found["ID_USB_CLASS_FROM_DATABASE"] = name
    if name := _PROTOCOL_NAMES.get(identity.cls):
        found["ID_USB_PROTOCOL_FROM_DATABASE"] = name
    return found
