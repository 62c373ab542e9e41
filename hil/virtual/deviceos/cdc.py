"""A board's face in normal mode: serial port and control interface, while Device OS runs.

Facts: USB fact sheet 1.2, 2.1 (touch speeds), 4.1 and 4.6 (raw requests).
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from hil.device.control import DEVICE_IN, DEVICE_OUT, RECORD_LENGTH, Service
from hil.device.releases import version_tuple
from hil.device.requests import ControlRequest
from hil.virtual.deviceos.console import Console
from hil.virtual.deviceos.control import ControlChannel
from hil.virtual.deviceos.control_handlers import ControlRequests
from hil.virtual.deviceos.osystem import OperatingSystem
from hil.virtual.hardware.descriptors import (
    CDC_DRIVERS,
    CONTROL_INTERFACE_NUMBER,
    MICROSOFT_VENDOR_CODE,
    microsoft_compatible_id,
    normal_face,
)
from hil.virtual.kernel.linecoding import LineCoding
from hil.virtual.kernel.usbdevice import TYPE_VENDOR, NoAnswer, SerialFace, Setup, Stall, UsbDevice

DFU_TOUCH_BAUD = 14400
LISTENING_TOUCH_BAUD = 28800
# The board resets inside the touch, but the host hears of it when it next asks the hub.
TOUCH_DELAY = 0.05
FIRST_NOTICE, LAST_NOTICE = 0.25, 60.0  # seconds

_LISTENING_TOUCH_GONE = (6, 0, 0)


class BoardSerial(SerialFace):
    """The CDC port. It sends only while the host asserts DTR; opening it drops what was not sent."""

    def __init__(self, system: OperatingSystem) -> None:
        super().__init__()
        self._system = system
        self._console = Console(system, self.write)
        self._lock = threading.Lock()
        self._dtr = False
        self._opening = 0

    def line_coding(self, coding: LineCoding) -> None:
        machine, baud = self._system.machine, coding.baud
        if baud == DFU_TOUCH_BAUD:
            machine.request_reset("dfu_mode", mode="dfu", delay=TOUCH_DELAY)
        elif baud == LISTENING_TOUCH_BAUD and version_tuple(machine.device_os) < _LISTENING_TOUCH_GONE:
            self._system.start_listening()

    def modem_lines(self, dtr: bool, rts: bool) -> None:
        del rts  # the board does not look at it
        opened, self._dtr = dtr and not self._dtr, dtr
        if opened:
            self._opening += 1
            self._give_notice(self._opening, FIRST_NOTICE)

    def _give_notice(self, opening: int, delay: float) -> None:
        """Say in a moment what the board has to say, and then again, ever more seldom, while the port stays open.

        Not at once: what comes before the host has set its port up is thrown away there.
        """
        machine = self._system.machine
        if machine.power is None:
            return

        def say() -> None:
            if opening != self._opening or not self._dtr:
                return
            for line in machine.notices:
                machine.usb_serial_write(f"{line}\r\n".encode())
            self._give_notice(opening, min(2 * delay, LAST_NOTICE))

        machine.power.within_start(delay, say)

    def receive(self, data: bytes) -> None:
        if self._system.machine.listening:
            with self._lock:
                self._console.receive(data)
        else:
            self._system.application.serial_received(data)

    def is_open(self) -> bool:
        """Whether the host asserts DTR."""
        return self._dtr

    def write(self, data: bytes) -> None:
        """Send to the host, if it listens."""
        if self._dtr:
            self.send(data)


class NormalMode(UsbDevice):
    """CDC ACM on interfaces 0 and 1, control requests on endpoint 0."""

    def __init__(self, system: OperatingSystem) -> None:
        machine = system.machine
        face = normal_face(machine.platform, machine.device_os, machine.device_id.hex())
        self.port = BoardSerial(system)
        super().__init__(
            face.device,
            face.configuration,
            face.strings,
            interface_drivers=dict(CDC_DRIVERS),
            serial=self.port,
        )
        self._system = system
        self._channel = ControlChannel(ControlRequests(system).dispatch, system.announced)
        self._raw_out: dict[int, Callable[[], None]] = {
            ControlRequest.RESET: self._reset_now,
            ControlRequest.CLOUD_DISCONNECT: system.cloud.drop,
        }

    def class_or_vendor(self, setup: Setup, data: bytes) -> bytes:
        if setup.type != TYPE_VENDOR:
            raise Stall
        if setup.b_request == Service.RAW:
            return self._raw(setup)
        if setup.b_request == MICROSOFT_VENDOR_CODE:
            return microsoft_compatible_id(setup, CONTROL_INTERFACE_NUMBER)
        return self._channel.service(setup, data)

    def reset(self) -> None:
        """A reset of the bus ends all control requests."""
        self._channel.forget_all()

    def _reset_now(self) -> None:
        """From within the transfer, which therefore never ends well for the host (USB fact sheet 2.2)."""
        self._system.machine.request_reset("user", delay=0.0)
        raise NoAnswer("reset")

    def _raw(self, setup: Setup) -> bytes:
        """Requests without INIT: they work while the application or the system thread is stuck."""
        machine = self._system.machine
        texts: dict[int, str] = {
            ControlRequest.DEVICE_ID: machine.device_id.hex(),
            ControlRequest.OS_VERSION: machine.device_os,
        }
        if setup.bm_request_type == DEVICE_IN and setup.w_index in texts:
            text = texts[setup.w_index].encode()
            if len(text) <= setup.w_length <= RECORD_LENGTH:
                return text
        if setup.bm_request_type == DEVICE_OUT and setup.w_index in self._raw_out:
            self._raw_out[setup.w_index]()
            return b""
        raise Stall
