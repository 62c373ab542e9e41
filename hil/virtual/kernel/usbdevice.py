"""A USB device as the virtual kernel sees it: descriptors, control requests, endpoints and a serial function.

A board's personality (normal mode, DFU mode) subclasses ``UsbDevice``; the kernel's side
(``hil.virtual.kernel.kernel``) calls it from its own threads, so an implementation takes its own lock and never
blocks long. Standard requests on endpoint 0 are answered here from the descriptors; class and vendor requests go to
``class_or_vendor``.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from hil.errors import Signal
from hil.virtual.kernel.linecoding import LineCoding
from hil.virtual.kernel.usbconfig import parse_interfaces

TYPE_MASK = 0x60
TYPE_STANDARD = 0x00
TYPE_CLASS = 0x20
TYPE_VENDOR = 0x40

_GET_STATUS, _CLEAR_FEATURE, _SET_FEATURE, _GET_DESCRIPTOR = 0, 1, 3, 6
_GET_CONFIGURATION, _SET_CONFIGURATION, _GET_INTERFACE, _SET_INTERFACE = 8, 9, 10, 11
_CDC_SET_LINE_CODING, _CDC_GET_LINE_CODING, _CDC_SET_CONTROL_LINE_STATE = 0x20, 0x21, 0x22
_ENGLISH = b"\x04\x03\x09\x04"
_SERIAL_QUEUE_LIMIT = 64 * 1024


class Stall(Signal):
    """The device refuses the request: the host sees EPIPE (libusb: pipe error)."""


class NoAnswer(Stall):
    """The device takes the request and is gone before it answers: the host sees EPROTO."""


@dataclass(frozen=True, slots=True)
class Setup:
    """The eight bytes that begin a control transfer, fields named as in the USB specification."""

    bm_request_type: int
    b_request: int
    w_value: int
    w_index: int
    w_length: int

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """From the eight bytes on the wire."""
        return cls(*struct.unpack("<BBHHH", data[:8]))

    @property
    def is_in(self) -> bool:
        """True when the data stage goes from device to host."""
        return bool(self.bm_request_type & 0x80)

    @property
    def type(self) -> int:
        """``TYPE_STANDARD``, ``TYPE_CLASS`` or ``TYPE_VENDOR``."""
        return self.bm_request_type & TYPE_MASK

    @property
    def recipient(self) -> int:
        """0 device, 1 interface, 2 endpoint, 3 other."""
        return self.bm_request_type & 0x1F


class SerialFace:
    """A CDC ACM function as the host's tty driver drives it. A device subclasses it.

    ``send`` is set by the kernel when the device is attached: it takes bytes for the host and never blocks; what
    does not fit, or is sent while nobody has the tty open, is lost. Whether to send while DTR is off is the
    device's business.
    """

    send: Callable[[bytes], None]

    def __init__(self) -> None:
        self.send = _drop
        self.coding = LineCoding()

    def set_coding(self, coding: LineCoding) -> None:
        """SET_LINE_CODING: the host's driver sends it when it binds and whenever the line changes."""
        self.coding = coding
        self.line_coding(coding)

    def line_coding(self, coding: LineCoding) -> None:
        """The host set the line coding."""

    def modem_lines(self, dtr: bool, rts: bool) -> None:
        """The host set its control lines (SET_CONTROL_LINE_STATE)."""

    def receive(self, data: bytes) -> None:
        """Bytes from the host."""


class UsbDevice:
    """Base of a virtual USB device.

    ``device_descriptor`` has 18 bytes, ``configuration_descriptor`` is the whole set with ``wTotalLength``; ``strings``
    maps string index to text. ``interface_drivers`` names the kernel driver that binds to an interface when the device
    appears (``{0: "cdc_acm", 1: "cdc_acm"}`` for CDC ACM). ``speed`` is in Mbit/s as sysfs writes it;
    a hub has ``ports``.
    """

    device_descriptor: bytes = b""
    configuration_descriptor: bytes = b""
    speed: str = "12"
    ports: int = 0

    def __init__(
        self,
        device_descriptor: bytes,
        configuration_descriptor: bytes,
        strings: dict[int, str],
        *,
        interface_drivers: dict[int, str] | None = None,
        serial: SerialFace | None = None,
    ) -> None:
        self.device_descriptor = device_descriptor
        self.configuration_descriptor = configuration_descriptor
        self.strings = strings
        self.interface_drivers = interface_drivers or {}
        self.serial = serial
        self.configuration = 1
        self.alternate: dict[int, int] = {}
        self.in_ready: Callable[[int], None] = _ignore_endpoint
        self._serial_out = bytearray()
        self._serial_lock = threading.Lock()

    # What a device overrides.

    def class_or_vendor(self, setup: Setup, data: bytes) -> bytes:
        """Answers a class or vendor request; ``data`` is the OUT data stage. Returns the IN data stage.

        Raises ``Stall`` to refuse it. The kernel cuts the answer to ``w_length``.
        """
        raise Stall(f"{setup} with {len(data)} bytes")

    def child_on(self, port: int) -> int:
        """The device number of what is on a hub's ``port``, 0 for nothing."""
        del port
        return 0

    def on_attached(self) -> None:
        """The device is on the bus: nodes and events are out."""

    def on_detached(self) -> None:
        """The device is off the bus; no call of the kernel follows."""

    def reset(self) -> None:
        """The host reset the port (USBDEVFS_RESET)."""

    def bulk_out(self, endpoint: int, data: bytes) -> None:
        """Bytes for a bulk or interrupt OUT endpoint. Raises ``Stall``."""
        if self.serial is None:
            raise Stall(f"endpoint {endpoint:#04x}")
        self.serial.receive(data)

    def bulk_in(self, endpoint: int, length: int) -> bytes | None:
        """Up to ``length`` bytes of an IN endpoint, or ``None`` while there are none (NAK).

        When that changes, the device calls ``self.in_ready(endpoint)``, not holding a lock that this method takes.
        Raises ``Stall``.
        """
        with self._serial_lock:
            if self.serial is None or endpoint != self.serial_in_endpoint or not self._serial_out:
                return None
            data = bytes(self._serial_out[:length])
            del self._serial_out[:length]
            return data

    # What the kernel calls.

    def control(self, setup: Setup, data: bytes = b"") -> bytes:
        """One control transfer on endpoint 0. Returns the IN data stage. Raises ``Stall``."""
        if setup.type == TYPE_STANDARD:
            answer = self._standard(setup)
        elif setup.type == TYPE_CLASS and self.serial is not None and setup.recipient == 1:
            answer = self._cdc(setup, data)
        else:
            answer = self.class_or_vendor(setup, data)
        return answer[: setup.w_length] if setup.is_in else b""

    def serial_to_endpoint(self, data: bytes) -> None:
        """``SerialFace.send`` while no tty driver is bound: the bytes wait for a reader of the bulk endpoint."""
        with self._serial_lock:
            room = _SERIAL_QUEUE_LIMIT - len(self._serial_out)
            self._serial_out += data[:room]
        self.in_ready(self.serial_in_endpoint)

    @property
    def serial_in_endpoint(self) -> int:
        """The bulk IN endpoint of the CDC data interface; 0 when there is none."""
        offset = 0
        descriptor = self.configuration_descriptor
        in_data_interface = False
        while offset + 2 <= len(descriptor) and descriptor[offset] >= 2:
            kind = descriptor[offset + 1]
            if kind == 4:
                in_data_interface = descriptor[offset + 5] == 0x0A
            elif kind == 5 and in_data_interface and descriptor[offset + 2] & 0x80:
                return descriptor[offset + 2]
            offset += descriptor[offset]
        return 0

    def _standard(self, setup: Setup) -> bytes:
        if setup.b_request == _GET_DESCRIPTOR and setup.is_in:
            return self.descriptor(setup.w_value >> 8, setup.w_value & 0xFF)
        if setup.b_request == _GET_STATUS:
            self_powered = setup.recipient == 0 and self.configuration_descriptor[7] >> 6 & 1
            return bytes([self_powered, 0])
        if setup.b_request == _GET_CONFIGURATION:
            return bytes([self.configuration])
        if setup.b_request == _SET_CONFIGURATION:
            self.configuration = setup.w_value & 0xFF
            self.alternate.clear()
            return b""
        if setup.b_request == _GET_INTERFACE:
            return bytes([self.alternate.get(setup.w_index, 0)])
        if setup.b_request == _SET_INTERFACE:
            if not self._has_setting(setup.w_index, setup.w_value):
                raise Stall(f"no setting {setup.w_value} of interface {setup.w_index}")
            self.alternate[setup.w_index] = setup.w_value
            return b""
        if setup.b_request in (_CLEAR_FEATURE, _SET_FEATURE):
            return b""
        raise Stall

    def _has_setting(self, interface: int, alternate: int) -> bool:
        settings = parse_interfaces(self.configuration_descriptor)
        return any((each.number, each.alternate) == (interface, alternate) for each in settings)

    def descriptor(self, kind: int, index: int) -> bytes:
        """A standard descriptor (1 device, 2 configuration, 3 string). Raises ``Stall`` for others."""
        if kind == 1:
            return self.device_descriptor
        if kind == 2 and index == 0:
            return self.configuration_descriptor
        if kind == 3 and index == 0 and self.strings:
            return _ENGLISH
        if kind == 3 and index in self.strings:
            text = self.strings[index].encode("utf-16-le")[:252]
            return bytes([len(text) + 2, 3]) + text
        raise Stall

    def _cdc(self, setup: Setup, data: bytes) -> bytes:
        assert self.serial is not None
        if setup.b_request == _CDC_SET_LINE_CODING and len(data) >= LineCoding.SIZE:
            self.serial.set_coding(LineCoding.parse(data))
            return b""
        if setup.b_request == _CDC_GET_LINE_CODING:
            return self.serial.coding.encode()
        if setup.b_request == _CDC_SET_CONTROL_LINE_STATE:
            self.serial.modem_lines(bool(setup.w_value & 1), bool(setup.w_value & 2))
            return b""
        return self.class_or_vendor(setup, data)


def _drop(_data: bytes) -> None:
    """``SerialFace.send`` of a device that is not attached."""


def _ignore_endpoint(_endpoint: int) -> None:
    """``UsbDevice.in_ready`` of a device that is not attached."""
