"""USB descriptors of a board in its two modes.

Facts: USB fact sheet 1.1 to 1.4 and 5.1, protocol fact sheet 11.6.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from hil.device.families import DfuDialect
from hil.device.platforms import Platform
from hil.device.releases import version_tuple
from hil.virtual.kernel.usbdevice import Setup, Stall

MANUFACTURER, PRODUCT, SERIAL, CONTROL_INTERFACE = 1, 2, 3, 4
FIRST_ALTERNATE = 4
STATE_STRING = 0xFA
MICROSOFT_STRING, MICROSOFT_VENDOR_CODE = 0xEE, 0xEE
CONTROL_INTERFACE_NUMBER = 2
CDC_DRIVERS = {0: "cdc_acm", 1: "cdc_acm"}

_DFU_ATTRIBUTES = 0x0B  # download, upload, will detach
_DFU_VERSION = 0x011A  # DfuSe
_DETACH_TIMEOUT_MS = 255
_BULK, _INTERRUPT = 2, 3
_MICROSOFT_SIGNATURE = f"MSFT100{chr(MICROSOFT_VENDOR_CODE)}"
_COMPATIBLE_ID_INDEX = 4


@dataclass(frozen=True, slots=True)
class Face:
    """What the host reads of a board in one mode."""

    device: bytes
    configuration: bytes
    strings: dict[int, str]


def normal_face(platform: Platform, device_os: str, device_id: str) -> Face:
    """CDC serial and the control interface. ``device_id`` is 24 hex digits."""
    product = _usb_name(platform, device_os) + platform.family.usb.product_suffix
    strings = {
        MANUFACTURER: "Particle",
        PRODUCT: product,
        SERIAL: serial_string(platform, device_id),
        CONTROL_INTERFACE: f"{_usb_name(platform, device_os)} Control Interface",
        MICROSOFT_STRING: _MICROSOFT_SIGNATURE,
    }
    device = _device(platform, platform.pid, (0xEF, 2, 1))
    return Face(device, _cdc_configuration(platform), strings)


def dfu_face(platform: Platform, device_os: str, device_id: str) -> Face:
    """The bootloader: one interface with an alternate setting for each memory."""
    alternates = dfu_alternates(platform, device_os)
    strings = {
        MANUFACTURER: "Particle",
        PRODUCT: f"{_usb_name(platform, device_os)} DFU Mode",
        SERIAL: serial_string(platform, device_id),
        MICROSOFT_STRING: _MICROSOFT_SIGNATURE,
    }
    strings |= {FIRST_ALTERNATE + number: text for number, text in enumerate(alternates)}
    if _is_nrf52(platform) and version_tuple(device_os) > (6, 1, 1):
        strings[STATE_STRING] = "sm=o"
    interfaces = b"".join(
        _interface(0, 0, (0xFE, 1, 2), alternate=number, text=FIRST_ALTERNATE + number)
        for number in range(len(alternates))
    )
    functional = struct.pack(
        "<BBBHHH", 9, 0x21, _DFU_ATTRIBUTES, _DETACH_TIMEOUT_MS, platform.dfu_transfer_size, _DFU_VERSION
    )
    configuration = _configuration(platform, interfaces + functional, 1)
    return Face(_device(platform, platform.dfu_pid, (0, 0, 0)), configuration, strings)


def microsoft_compatible_id(setup: Setup, interface: int) -> bytes:
    """The answer to Windows' question for a driver: WinUSB for ``interface``. Raises ``Stall`` for other questions."""
    if setup.bm_request_type != 0xC0 or setup.w_index != _COMPATIBLE_ID_INDEX:
        raise Stall("no such Microsoft descriptor")
    function = struct.pack("<BB8s8s6x", interface, 1, b"WINUSB", b"")
    return struct.pack("<IHHB7x", 16 + len(function), 0x0100, _COMPATIBLE_ID_INDEX, 1) + function


def dfu_alternates(platform: Platform, device_os: str) -> tuple[str, ...]:
    """The DfuSe strings: Gen 3 called its configuration flash ``DCD`` up to 4.0.x and at 5.0.0."""
    version = version_tuple(device_os)
    if _is_nrf52(platform) and (version < (4, 1, 0) or version == (5, 0, 0)):
        return tuple(text.replace("@DCT", "@DCD") for text in platform.dfu_alts)
    return platform.dfu_alts


def serial_string(platform: Platform, device_id: str) -> str:
    """Gen 2 writes the device id in upper case, Gen 3 in lower case."""
    return device_id.upper() if platform.family.usb.upper_case_serial else device_id.lower()


def _usb_name(platform: Platform, device_os: str) -> str:
    newer = version_tuple(device_os) >= (3, 0, 0)
    return platform.usb_name if platform.usb_name and newer else platform.display


def _is_nrf52(platform: Platform) -> bool:
    return platform.family.dfu_dialect is DfuDialect.NRF52


def _device(platform: Platform, pid: int, kind: tuple[int, int, int]) -> bytes:
    ids = (platform.vid, pid, platform.family.usb.release)
    return struct.pack("<BBHBBBBHHHBBBB", 18, 1, 0x0200, *kind, 64, *ids, MANUFACTURER, PRODUCT, SERIAL, 1)


def _configuration(platform: Platform, body: bytes, interfaces: int) -> bytes:
    power = platform.family.usb
    head = struct.pack("<BBHBBBBB", 9, 2, 9 + len(body), interfaces, 1, 0, power.attributes, power.half_ma)
    return head + body


def _interface(
    number: int, endpoints: int, kind: tuple[int, int, int], *, alternate: int = 0, text: int = 0
) -> bytes:
    return bytes((9, 4, number, alternate, endpoints, *kind, text))


def _endpoint(address: int, kind: int, size: int, interval: int) -> bytes:
    return struct.pack("<BBBBHB", 7, 5, address, kind, size, interval)


def _cdc_configuration(platform: Platform) -> bytes:
    association = bytes((8, 0x0B, 0, 2, 2, 2, 1, 0))
    # Header (CDC 1.10), call management on interface 1, line coding and control lines, union of 0 and 1.
    functional = bytes.fromhex("0524001001 0524010001 04240202 0524060001")
    body = (
        association
        + _interface(0, 1, (2, 2, 1))
        + functional
        + _endpoint(platform.family.usb.interrupt_endpoint, _INTERRUPT, 8, 16)
        + _interface(1, 2, (0x0A, 0, 0))
        + _endpoint(0x01, _BULK, 64, 0)
        + _endpoint(0x81, _BULK, 64, 0)
        + _interface(2, 0, (0xFF, 0xFF, 0xFF), text=CONTROL_INTERFACE)
    )
    return _configuration(platform, body, 3)
