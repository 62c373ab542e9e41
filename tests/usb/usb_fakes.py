"""A board's endpoint 0 and udev, as the USB fact sheet 4.1 to 4.3 describes them: the other end for unit tests."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from hil.device.platforms import UsbMode, by_name
from hil.usb.sysfs import UsbBoard
from hil.usb.transport import TransferError

Handler = Callable[[int, bytes], tuple[int, bytes]]


def argon(mode: UsbMode = UsbMode.NORMAL, address: int = 5) -> UsbBoard:
    """An Argon at port 1-3."""
    tty = "/dev/ttyACM0" if mode is UsbMode.NORMAL else None
    serial = "e00fce68aabbccddeeff0011"
    return UsbBoard("1-3", "pci-usb-0:3", by_name("argon"), mode, serial, serial, tty, 1, address)


@dataclass(slots=True)
class _Request:
    request_id: int
    size: int
    payload: bytes = b""
    reply: bytes = b""
    result: int = 0
    allocated: bool = False
    pending: int = 0
    done: bool = False
    sent: int = 0


@dataclass
class FakeUsbTransport:
    """Services INIT, CHECK, SEND, RECV and RESET around ``handler(request_id, payload) -> (result, reply)``.

    ``pending`` CHECKs go by before a request is done, ``busy`` INITs are turned away. Payloads over 64 bytes have their
    buffer allocated first. ``calls`` keeps (service, value, index, length or data) of each transfer.
    """

    handler: Handler
    pending: int = 0
    busy: int = 0
    never: bool = False
    calls: list[tuple[int, int, int, int | bytes]] = field(default_factory=list)
    requests: dict[int, _Request] = field(default_factory=dict)
    closed: bool = False
    raw: dict[int, bytes] = field(default_factory=dict)
    _next: int = 1

    def control_in(self, request_type: int, request: int, value: int, index: int, length: int) -> bytes:
        assert request_type == 0xC0
        self.calls.append((request, value, index, length))
        if request == 0x50:
            return self.raw[index][:length]
        if request in (1, 2, 5) and length < 64:
            raise TransferError("stall", stalled=True)
        if request == 1:
            return self._init(index, value)
        if request == 2:
            return self._check(index)
        if request == 4:
            return self._receive(index, length)
        assert request == 5
        dropped = list(self.requests) if index == 0 else [index]
        for handle in dropped:
            self.requests.pop(handle, None)
        return bytes.fromhex("010000000000")

    def control_out(self, request_type: int, request: int, value: int, index: int, data: bytes) -> None:
        assert (request_type, value) == (0x40, 0)
        self.calls.append((request, value, index, data))
        if request == 0x50:
            raise TransferError("the board is gone", gone=True)
        assert request == 3
        assert len(data) <= 4096
        here = self.requests[index]
        here.payload += data
        if len(here.payload) == here.size:
            self._run(here)

    def close(self) -> None:
        self.closed = True

    def _init(self, request_id: int, size: int) -> bytes:
        if self.busy:
            self.busy -= 1
            return bytes.fromhex("010000000300")
        handle, self._next = self._next, self._next + 1
        here = self.requests[handle] = _Request(request_id, size, allocated=size <= 64, pending=self.pending)
        if size == 0:
            self._run(here)
        return struct.pack("<IHH", 3, 0 if here.allocated else 2, handle)

    def _check(self, handle: int) -> bytes:
        here = self.requests.get(handle)
        if here is None:
            return bytes.fromhex("010000000500")
        if not here.allocated:
            here.allocated = True
            return bytes.fromhex("010000000000")
        if not here.done:
            return bytes.fromhex("010000000200" if here.size == len(here.payload) else "010000000000")
        if here.pending or self.never:
            here.pending -= 1
            return bytes.fromhex("010000000200")
        if not here.reply:
            del self.requests[handle]
            return struct.pack("<IHi", 9, 0, here.result)
        return struct.pack("<IHIi", 13, 0, len(here.reply), here.result)

    def _receive(self, handle: int, length: int) -> bytes:
        here = self.requests[handle]
        if here.sent + length > len(here.reply):
            raise TransferError("stall", stalled=True)
        chunk = here.reply[here.sent : here.sent + length]
        here.sent += length
        if here.sent == len(here.reply):
            del self.requests[handle]
        return chunk

    def _run(self, here: _Request) -> None:
        here.result, here.reply = self.handler(here.request_id, here.payload)
        here.done = True


@dataclass
class FakeUdev:
    """udev with the devices in ``there``; ``event`` reports one as the monitor would."""

    there: list[tuple[Mapping[str, str], str]] = field(default_factory=list)
    callback: Callable[[Mapping[str, str], str], None] | None = None
    scans: int = 0

    def start(self, callback: Callable[[Mapping[str, str], str], None]) -> None:
        self.callback = callback

    def scan(self) -> list[tuple[Mapping[str, str], str]]:
        assert self.callback is not None, "the monitor must be listening before the scan"
        self.scans += 1
        return self.there

    def stop(self) -> None:
        self.callback = None

    def event(self, action: str, device: tuple[Mapping[str, str], str]) -> None:
        assert self.callback is not None
        self.callback({**device[0], "ACTION": action}, device[1])


def udev_board(
    port: str, pid: str, address: int, serial: str, vid: str = "2b04"
) -> tuple[Mapping[str, str], str]:
    """Properties of a usb_device as the kernel and udev give them (measured, golden uevents)."""
    return {
        "DEVPATH": f"/devices/platform/vhci_hcd.0/usb1/{port}",
        "SUBSYSTEM": "usb",
        "DEVTYPE": "usb_device",
        "PRODUCT": f"{vid}/{pid}/251",
        "BUSNUM": "001",
        "DEVNUM": f"{address:03d}",
        "ID_PATH": f"platform-vhci_hcd.0-usb-0:{port.partition('-')[2]}",
        "ID_SERIAL_SHORT": serial,
    }, serial


def udev_tty(port: str, node: str, interface: int = 0) -> tuple[Mapping[str, str], str]:
    """Properties of a CDC serial port."""
    return {
        "DEVPATH": f"/devices/platform/vhci_hcd.0/usb1/{port}/{port}:1.{interface}/tty/{node}",
        "SUBSYSTEM": "tty",
        "DEVNAME": f"/dev/{node}",
        "ID_USB_INTERFACE_NUM": f"{interface:02d}",
    }, ""
