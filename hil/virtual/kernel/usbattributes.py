"""The files of a USB device and its interfaces in sysfs, as Linux writes them (drivers/usb/core/sysfs.c, endpoint.c).

Names with a slash lie in a directory of the device's. What means something when written is not here (``control``).
"""

from __future__ import annotations

from hil.virtual.kernel import udevrules
from hil.virtual.kernel.udevrules import Identity
from hil.virtual.kernel.usbconfig import Endpoint, Interface, acm_capabilities, association_of
from hil.virtual.kernel.usbdevice import UsbDevice

_ENDPOINT_TYPES = ("Control", "Isoc", "Bulk", "Interrupt")
_POWER_UNIT = 2  # mA
# Files of power/ that can be written; nothing here sleeps, whatever they say.
WRITABLE = (
    "avoid_reset_quirk",
    *(
        f"power/{name}"
        for name in ("async", "autosuspend", "autosuspend_delay_ms", "control", "level", "persist")
    ),
)
_SLEEPLESS = {"async": "enabled", "runtime_active_kids": "0", "runtime_usage": "0"}
_CLOCKS = {"runtime_active_time": "0", "runtime_suspended_time": "0"}
_DEVICE_POWER = {
    **_SLEEPLESS,
    **_CLOCKS,
    "active_duration": "0",
    "autosuspend": "2",
    "autosuspend_delay_ms": "2000",
    "connected_duration": "0",
    "control": "on",
    "level": "on",
    "persist": "1",
    "runtime_enabled": "forbidden",
    "runtime_status": "active",
    "runtime_usage": "1",
}
_INTERFACE_POWER = {**_SLEEPLESS, "runtime_enabled": "enabled", "runtime_status": "active"}
# Of an endpoint and a tty, which know no sleep.
PLAIN_POWER = {
    **_SLEEPLESS,
    **_CLOCKS,
    "autosuspend_delay_ms": "",
    "control": "auto",
    "runtime_enabled": "disabled",
    "runtime_status": "unsupported",
}


def mode_of(name: str) -> int:
    """Permissions of the file ``name``."""
    inner = name.partition("/")[2] if name.startswith("ep_") else name
    return 0o644 if inner in WRITABLE or inner == "uevent" else 0o444


def lines(texts: dict[str, str]) -> dict[str, bytes]:
    """Each text as the file that holds it; an empty one is an empty file."""
    return {name: f"{text}\n".encode() if text else b"" for name, text in texts.items()}


def power(texts: dict[str, str]) -> dict[str, bytes]:
    """The directory ``power``."""
    return lines({f"power/{name}": text for name, text in texts.items()})


def of_device(device: UsbDevice, identity: Identity, bus: int, port: str, devnum: int) -> dict[str, bytes]:
    """Of a usb_device, in whatever configuration it is; those that need one are in ``of_configuration``."""
    data = device.device_descriptor
    texts = {
        "avoid_reset_quirk": "0",
        "bDeviceClass": f"{data[4]:02x}",
        "bDeviceSubClass": f"{data[5]:02x}",
        "bDeviceProtocol": f"{data[6]:02x}",
        "bMaxPacketSize0": str(data[7]),
        "bNumConfigurations": str(data[17]),
        "bcdDevice": f"{identity.revision:04x}",
        "busnum": str(bus),
        "devnum": str(devnum),
        "devpath": "0" if port.startswith("usb") else port.split("-", 1)[1],
        "idProduct": f"{identity.product_id:04x}",
        "idVendor": f"{identity.vendor_id:04x}",
        "ltm_capable": "no",
        "maxchild": str(device.ports),
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
    found = lines(texts) | power(_DEVICE_POWER) | of_configuration(device)
    found["descriptors"] = data + device.configuration_descriptor
    return found | _of_endpoint(Endpoint(0, 0, data[7], 0))


def of_configuration(device: UsbDevice) -> dict[str, bytes]:
    """What a usb_device says of its configuration; empty files without one."""
    configuration = device.configuration_descriptor
    texts = {
        "bMaxPower": f"{configuration[8] * _POWER_UNIT}mA",
        "bNumInterfaces": f"{configuration[4]:2d}",
        "bmAttributes": f"{configuration[7]:02x}",
        "configuration": device.strings.get(configuration[6], ""),
    }
    return lines(texts if device.configuration else dict.fromkeys(texts, ""))


def of_interface(device: UsbDevice, identity: Identity, interface: Interface) -> dict[str, bytes]:
    """Of a usb_interface."""
    texts = {
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
    if (group := association_of(device.configuration_descriptor, interface.number)) is not None:
        texts |= {
            "iad_bFirstInterface": f"{group.first:02x}",
            "iad_bInterfaceCount": f"{group.count:02x}",
            "iad_bFunctionClass": f"{group.cls:02x}",
            "iad_bFunctionSubClass": f"{group.subclass:02x}",
            "iad_bFunctionProtocol": f"{group.protocol:02x}",
        }
    found = lines(texts) | power(_INTERFACE_POWER)
    for endpoint in interface.endpoints:
        found |= _of_endpoint(endpoint)
    return found


def of_function(device: UsbDevice, interface: Interface) -> dict[str, bytes]:
    """What cdc_acm adds to the control interface that it took (drivers/usb/class/cdc-acm.c)."""
    capabilities = acm_capabilities(device.configuration_descriptor, interface.number)
    return lines({"bmCapabilities": str(capabilities)})


def _of_endpoint(endpoint: Endpoint) -> dict[str, bytes]:
    direction = "both" if endpoint.type == 0 else "in" if endpoint.is_in else "out"
    texts = {
        "bEndpointAddress": f"{endpoint.address:02x}",
        "bInterval": f"{endpoint.interval:02x}",
        "bLength": "07",
        "bmAttributes": f"{endpoint.attributes:02x}",
        "direction": direction,
        "interval": f"{endpoint.interval}ms",
        "type": _ENDPOINT_TYPES[endpoint.type],
        "uevent": "",
        "wMaxPacketSize": f"{endpoint.max_packet:04x}",
    }
    files = lines(texts) | power(PLAIN_POWER)
    return {f"ep_{endpoint.address:02x}/{name}": content for name, content in files.items()}
