"""Small USB devices and a rack made of them, to test the virtual kernel without boards.

Run as a program it is a rack: ``python tests/virtual/devices.py [--real] -- COMMAND...``. Its clients steer it over the
unix socket in ``RACK_CONTROL``: one JSON line in, one out. With ``--real`` plugging takes a real kernel's time.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hil.device.platforms import by_name
from hil.virtual.hardware.descriptors import dfu_face
from hil.virtual.kernel.kernel import VirtualKernel
from hil.virtual.kernel.linecoding import LineCoding
from hil.virtual.kernel.timing import REAL
from hil.virtual.kernel.usbdevice import SerialFace, Setup, Stall, UsbDevice
from hil.virtual.launch import launcher

SERIAL = "e00fce68aabbccddeeff0011"
ALTS = (
    "@Internal Flash   /0x00030000/200*004Kg",
    "@DCT Flash   /0x00000000/1*016Kg",
    "@External Flash   /0x80000000/1024*004Kg",
)


def device_descriptor(pid: int, cls: tuple[int, int, int], *, bcd: int = 0x0251) -> bytes:
    return struct.pack("<BBHBBBBHHHBBBB", 18, 1, 0x0200, *cls, 64, 0x2B04, pid, bcd, 1, 2, 3, 1)


def configuration(body: bytes, interfaces: int) -> bytes:
    return struct.pack("<BBHBBBBB", 9, 2, 9 + len(body), interfaces, 1, 0, 0xC0, 250) + body


def interface(
    number: int, endpoints: int, triple: tuple[int, int, int], *, alt: int = 0, string: int = 0
) -> bytes:
    return bytes((9, 4, number, alt, endpoints, *triple, string))


def endpoint(address: int, attributes: int, size: int, interval: int) -> bytes:
    return struct.pack("<BBBBHB", 7, 5, address, attributes, size, interval)


def cdc_configuration() -> bytes:
    body = bytes((8, 11, 0, 2, 2, 2, 1, 0)) + interface(0, 1, (2, 2, 1))
    body += bytes((5, 0x24, 0, 0x10, 1, 5, 0x24, 1, 0, 1, 4, 0x24, 2, 2, 5, 0x24, 6, 0, 1))
    body += endpoint(0x82, 3, 16, 16) + interface(1, 2, (10, 0, 0))
    body += endpoint(0x81, 2, 64, 0) + endpoint(0x01, 2, 64, 0)
    return configuration(body + interface(2, 0, (255, 255, 255)), 3)


def dfu_configuration() -> bytes:
    body = b"".join(interface(0, 0, (0xFE, 1, 2), alt=alt, string=4 + alt) for alt in range(len(ALTS)))
    return configuration(body + struct.pack("<BBBHHH", 9, 0x21, 0x0B, 255, 4096, 0x011A), 1)


class EchoSerial(SerialFace):
    """Remembers what the host did and echoes bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, Any]] = []
        self.on_baud: Any = None

    def line_coding(self, coding: LineCoding) -> None:
        self.seen.append(("coding", str(coding)))
        if self.on_baud:
            self.on_baud(coding.baud)

    def modem_lines(self, dtr: bool, rts: bool) -> None:
        self.seen.append(("lines", [dtr, rts]))

    def receive(self, data: bytes) -> None:
        self.seen.append(("data", data.decode("latin-1")))
        self.send(b"echo:" + data)


class CdcDevice(UsbDevice):
    """CDC ACM echo and a vendor request that stores bytes."""

    def __init__(self, serial_number: str = SERIAL) -> None:
        self.face = EchoSerial()
        super().__init__(
            device_descriptor(0xC00C, (0xEF, 2, 1)),
            cdc_configuration(),
            {1: "Particle", 2: "Argon", 3: serial_number},
            interface_drivers={0: "cdc_acm", 1: "cdc_acm"},
            serial=self.face,
        )
        self.stored = b""
        self.controls: list[Setup] = []
        self.asked_for_bytes: Callable[[], None] = lambda: None

    def control(self, setup: Setup, data: bytes = b"") -> bytes:
        self.controls.append(setup)
        return super().control(setup, data)

    def bulk_in(self, endpoint: int, length: int) -> bytes | None:
        self.asked_for_bytes()
        return super().bulk_in(endpoint, length)

    def class_or_vendor(self, setup: Setup, data: bytes) -> bytes:
        if setup.b_request != 0x50:
            raise Stall
        if setup.is_in:
            return struct.pack("<HH", setup.w_value, setup.w_index) + self.stored
        self.stored = data
        return b""


class DfuDevice(UsbDevice):
    """A DfuSe bootloader with flash of its own; ``on_leave`` is called once it was told to start the firmware."""

    def __init__(self, serial_number: str = SERIAL) -> None:
        strings = {1: "Particle", 2: "Argon", 3: serial_number, **dict(enumerate(ALTS, start=4))}
        super().__init__(device_descriptor(0xD00C, (0, 0, 0)), dfu_configuration(), strings)
        self.flash = bytearray(b"\xff" * 0x100000)
        self.on_leave: Any = lambda: None
        self.on_block: Any = lambda _count: None
        self._state = 2
        self._address = 0
        self._blocks = 0

    def restart_count(self) -> None:
        """``on_block`` counts from 1 again."""
        self._blocks = 0

    def class_or_vendor(self, setup: Setup, data: bytes) -> bytes:
        handler = {1: self._download, 2: self._upload, 3: self._status, 4: self._idle, 6: self._idle}
        if setup.b_request == 5:
            return bytes((self._state,))
        if setup.b_request not in handler:
            raise Stall
        return handler[setup.b_request](setup, data)

    def _download(self, setup: Setup, data: bytes) -> bytes:
        self._state = 3 if data else 6
        if not data:
            return b""
        if setup.w_value >= 2:
            start = self._address + (setup.w_value - 2) * 4096
            self.flash[start : start + len(data)] = data
            self._blocks += 1
            self.on_block(self._blocks)
        elif data[0] == 0x21:
            self._address = int.from_bytes(data[1:5], "little")
        elif data[0] == 0x41:
            start = int.from_bytes(data[1:5], "little")
            self.flash[start : start + 4096] = b"\xff" * 4096
        return b""

    def _upload(self, setup: Setup, _data: bytes) -> bytes:
        self._state = 9
        if setup.w_value == 0:
            return b"\x00\x21\x41"
        start = self._address + (setup.w_value - 2) * 4096
        return bytes(self.flash[start : start + setup.w_length])

    def _status(self, _setup: Setup, _data: bytes) -> bytes:
        self._state = {3: 4, 4: 5, 6: 7}.get(self._state, self._state)
        answer = bytes((0, 0, 0, 0, self._state, 0))
        if self._state == 4:
            self._state = 5
        elif self._state == 7:
            self.on_leave()
        return answer

    def _idle(self, _setup: Setup, _data: bytes) -> bytes:
        self._state = 2
        return b""


class Bench:
    """What clients steer: ports by number, the devices on them, and what the devices saw."""

    def __init__(self, kernel: VirtualKernel) -> None:
        self.kernel = kernel
        self.devices: dict[str, UsbDevice] = {}
        self._paused = threading.Event()
        self._go_on = threading.Event()

    def plug(self, port: str, kind: str, serial: str = SERIAL) -> None:
        """``kind``: cdc (becomes dfu by a 14400 touch), dfu (becomes cdc by leaving) or boron, one in DFU mode."""
        device: UsbDevice
        if kind == "boron":
            face = dfu_face(by_name("boron"), "2.3.1", serial)
            self.kernel.port(port).attach(UsbDevice(face.device, face.configuration, face.strings))
            return
        if kind == "cdc":
            device = cdc = CdcDevice(serial)
            cdc.face.on_baud = lambda baud: self._soon(port, "dfu", serial) if baud == 14400 else None
        else:
            device = dfu = DfuDevice(serial)
            dfu.on_leave = lambda: self._soon(port, "cdc", serial)
        self.devices[port] = device
        self.kernel.port(port).attach(device)

    def _soon(self, port: str, kind: str, serial: str) -> None:
        def replug() -> None:
            self.unplug(port)
            self.plug(port, kind, serial)

        threading.Timer(0.05, replug).start()

    def unplug(self, port: str) -> None:
        self.kernel.port(port).detach()

    def cycle(self, port: str, count: int) -> None:
        for _ in range(count):
            self.plug(port, "cdc")
            self.unplug(port)

    def seen(self, port: str) -> list[tuple[str, Any]]:
        device = self.devices[port]
        assert isinstance(device, CdcDevice)
        return device.face.seen

    def send(self, port: str, text: str) -> None:
        device = self.devices[port]
        assert isinstance(device, CdcDevice)
        device.face.send(text.encode())

    def flash(self, port: str, start: int, length: int) -> str:
        device = self.devices[port]
        assert isinstance(device, DfuDevice)
        return bytes(device.flash[start : start + length]).hex()

    def fail_at_block(self, port: str, block: int) -> None:
        """Pulls the plug in the middle of a download."""
        device = self.devices[port]
        assert isinstance(device, DfuDevice)
        device.on_block = lambda count: self.unplug(port) if count == block else None

    def pause_at_block(self, port: str, block: int) -> None:
        """Holds the transfer of ``block`` until ``go_on``."""
        device = self.devices[port]
        assert isinstance(device, DfuDevice)
        self._paused.clear()
        self._go_on.clear()
        device.restart_count()

        def hold(count: int) -> None:
            if count == block:
                self._paused.set()
                self._go_on.wait(10)

        device.on_block = hold

    def wait_paused(self, _port: str) -> bool:
        return self._paused.wait(10)

    def go_on(self, port: str) -> None:
        device = self.devices[port]
        assert isinstance(device, DfuDevice)
        device.on_block = lambda _count: None
        self._go_on.set()

    def usage(self) -> dict[str, int]:
        mounts = Path("/proc/self/mountinfo").read_text()
        return {
            "descriptors": len(os.listdir("/proc/self/fd")),
            "threads": threading.active_count(),
            "mounts": len(mounts.splitlines()),
            "open_usb": self.kernel.usbfs.open_count,
        }

    def pid(self) -> int:
        return os.getpid()


@contextlib.contextmanager
def compose(kernel: VirtualKernel) -> Iterator[Mapping[str, str]]:
    kernel.start()
    if "--real" in sys.argv[: sys.argv.index("--")]:
        kernel.take_time(REAL)
    bench = Bench(kernel)
    path = str(kernel.base / "control")
    listener = socket.create_server(path, family=socket.AF_UNIX)
    threading.Thread(target=_serve, args=(listener, bench), daemon=True).start()
    try:
        yield {"RACK_CONTROL": path}
    finally:
        listener.close()
        kernel.close()


def _serve(listener: socket.socket, bench: Bench) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_steer, args=(connection, bench), daemon=True).start()


def _steer(connection: socket.socket, bench: Bench) -> None:
    with connection, connection.makefile("rw") as stream:
        for line in stream:
            name, *arguments = json.loads(line)
            result = getattr(bench, name)(*arguments)
            stream.write(json.dumps(result) + "\n")
            stream.flush()


class Steering:
    """The clients' end."""

    def __init__(self) -> None:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(os.environ["RACK_CONTROL"])
        self._stream = connection.makefile("rw")
        connection.close()

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> Any:
            self._stream.write(json.dumps([name, *arguments]) + "\n")
            self._stream.flush()
            return json.loads(self._stream.readline())

        return call


if __name__ == "__main__":
    command = sys.argv[sys.argv.index("--") + 1 :]
    sys.exit(launcher.run(command, compose, silence=int(os.environ.get("RACK_SILENCE", "10"))))
