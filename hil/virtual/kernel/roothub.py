"""The root hub of the rack's bus: what lsusb and libusb show as ``usb1``, and the switch of each port's power.

Descriptors as Linux's own for a USB 2.0 root hub (drivers/usb/core/hcd.c); hub requests of USB 2.0 chapter 11.24.
"""

from __future__ import annotations

import platform
import struct
from collections.abc import Callable

from hil.virtual.kernel.usbdevice import TYPE_CLASS, Setup, Stall, UsbDevice

_HUB_DESCRIPTOR = 0x29
_GET_STATUS, _CLEAR_FEATURE, _SET_FEATURE, _GET_DESCRIPTOR = 0, 1, 3, 6
_PORT_POWER = 8
_CONNECTED, _ENABLED, _POWERED = 0x0001, 0x0002, 0x0100
_PER_PORT_POWER = 0x0001
MOST_PORTS = 31  # USB_MAXCHILDREN of Linux (include/uapi/linux/usb/ch11.h)


class RootHub(UsbDevice):
    """``connected`` says whether a port has a device; ``on_power`` is called when a port's power is switched.

    Ports count from 1.
    """

    def __init__(self, ports: int, bus_info: str, connected: Callable[[int], bool]) -> None:
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
        self.on_power: Callable[[int, bool], None] = _no_switch
        self._connected = connected
        self._powered = dict.fromkeys(range(1, ports + 1), True)

    def class_or_vendor(self, setup: Setup, data: bytes) -> bytes:
        if setup.type != TYPE_CLASS:
            return super().class_or_vendor(setup, data)
        if setup.b_request == _GET_DESCRIPTOR and setup.w_value >> 8 == _HUB_DESCRIPTOR:
            bitmap = bytes((self.ports // 8 + 1,))
            body = struct.pack("<BBHBB", _HUB_DESCRIPTOR, self.ports, _PER_PORT_POWER, 10, 0)
            body += bytes(bitmap[0]) + b"\xff" * bitmap[0]
            return bytes((len(body) + 1,)) + body
        if setup.recipient == 0 and setup.b_request == _GET_STATUS:
            return bytes(4)
        if setup.recipient == 3:
            return self._port_request(setup)
        raise Stall(str(setup))

    def _port_request(self, setup: Setup) -> bytes:
        port = setup.w_index & 0xFF
        if port not in self._powered:
            raise Stall(f"no port {port}")
        if setup.b_request == _GET_STATUS:
            status = _POWERED if self._powered[port] else 0
            if self._connected(port):
                status |= _CONNECTED | _ENABLED
            return struct.pack("<HH", status, 0)
        if setup.w_value == _PORT_POWER and setup.b_request in (_SET_FEATURE, _CLEAR_FEATURE):
            on = setup.b_request == _SET_FEATURE
            if self._powered[port] != on:
                self._powered[port] = on
                self.on_power(port, on)
        return b""


def _no_switch(_port: int, _on: bool) -> None:
    """``on_power`` of a hub whose ports nobody switches."""
