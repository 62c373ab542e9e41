"""The root hub of the rack's bus: what lsusb and libusb show as ``usb1``.

It has no power switching and says so, as most host controllers of today's computers: the rack's power strip is the
command ``hil rack power``.

Descriptors as Linux's own for a USB 2.0 root hub (drivers/usb/core/hcd.c); hub requests of USB 2.0 chapter 11.24.
"""

from __future__ import annotations

import platform
import struct
from collections.abc import Callable

from hil.virtual.kernel.usbdevice import TYPE_CLASS, Setup, Stall, UsbDevice

_HUB_DESCRIPTOR = 0x29
_GET_STATUS, _GET_DESCRIPTOR = 0, 6
_CONNECTED, _ENABLED, _POWERED = 0x0001, 0x0002, 0x0100
_NO_POWER_SWITCHING, _OVER_CURRENT_PER_PORT = 0x0002, 0x0008
MOST_PORTS = 31  # USB_MAXCHILDREN of Linux (include/uapi/linux/usb/ch11.h)


class RootHub(UsbDevice):
    """``devnum_on`` says which device a port has, 0 for none. Ports count from 1."""

    def __init__(self, ports: int, bus_info: str, devnum_on: Callable[[int], int]) -> None:
        release = platform.release().split("-")[0]
        device = struct.pack(
            "<BBHBBBBHHHBBBB", 18, 1, 0x0200, 9, 0, 1, 64, 0x1D6B, 0x0002, 0x0601, 3, 2, 1, 1
        )
        configuration = struct.pack("<BBHBBBBB", 9, 2, 25, 1, 1, 0, 0xE0, 0)
        configuration += bytes((9, 4, 0, 0, 1, 9, 0, 0, 0)) + bytes((7, 5, 0x81, 3, 4, 0, 12))
        strings = {1: bus_info, 2: "xHCI Host Controller", 3: f"Linux {release} xhci-hcd"}
        super().__init__(device, configuration, strings, interface_drivers={0: "hub"})
        self.speed = "480"
        self.ports = ports
        self._devnum_on = devnum_on

    def child_on(self, port: int) -> int:
        return self._devnum_on(port)

    def class_or_vendor(self, setup: Setup, data: bytes) -> bytes:
        if setup.type != TYPE_CLASS:
            return super().class_or_vendor(setup, data)
        if setup.b_request == _GET_DESCRIPTOR and setup.w_value >> 8 == _HUB_DESCRIPTOR:
            bitmap = bytes((self.ports // 8 + 1,))
            traits = _NO_POWER_SWITCHING | _OVER_CURRENT_PER_PORT
            body = struct.pack("<BBHBB", _HUB_DESCRIPTOR, self.ports, traits, 10, 0)
            body += bytes(bitmap[0]) + b"\xff" * bitmap[0]
            return bytes((len(body) + 1,)) + body
        if setup.recipient == 0 and setup.b_request == _GET_STATUS:
            return bytes(4)
        if setup.recipient == 3:
            return self._port_request(setup)
        raise Stall(str(setup))

    def _port_request(self, setup: Setup) -> bytes:
        port = setup.w_index & 0xFF
        if not 1 <= port <= self.ports:
            raise Stall(f"no port {port}")
        if setup.b_request == _GET_STATUS:
            taken = _CONNECTED | _ENABLED if self._devnum_on(port) else 0
            return struct.pack("<HH", _POWERED | taken, 0)
        return b""  # features are taken, that of a port's power too, and change nothing
