"""A virtual board on a bench for tests: its own clock, a port that only remembers, a cloud that is not there."""

from __future__ import annotations

import heapq
import itertools
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hil.device.platforms import by_name
from hil.virtual.app.apps import ApplicationHost
from hil.virtual.app.library import ApplicationLibrary
from hil.virtual.deviceos.board import BoardSpec, VirtualBoard
from hil.virtual.deviceos.cdc import NormalMode
from hil.virtual.hardware.bootloader import Bootloader
from hil.virtual.hardware.machine import Machine
from hil.virtual.kernel.linecoding import LineCoding
from hil.virtual.kernel.usbdevice import Setup, UsbDevice

BOARDS = {
    "photon": ("2.3.1", "3d0034000747343337373738"),
    "electron": ("3.3.1", "2b0041000251363131363432"),
    "argon": ("6.2.0", "e00fce68aabbccddeeff0011"),
    "boron": ("2.3.1", "e00fce68c3d4e5f607182930"),
}


class ManualScheduler:
    """Jobs run when ``advance`` says that their time has come."""

    def __init__(self) -> None:
        self.now = 0.0
        self._jobs: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def call_later(self, delay: float, job: Callable[[], None]) -> None:
        heapq.heappush(self._jobs, (self.now + delay, next(self._numbers), job))

    def run(self, job: Callable[[], None]) -> None:
        job()

    def close(self) -> None:
        self._jobs.clear()

    def advance(self, seconds: float) -> None:
        until = self.now + seconds
        while self._jobs and self._jobs[0][0] <= until + 1e-9:
            self.now, _, job = heapq.heappop(self._jobs)
            job()
        self.now = until


class FakePort:
    """The history of a port: ``dfu``, ``normal`` and ``-`` for nothing."""

    def __init__(self) -> None:
        self.device: UsbDevice | None = None
        self.history: list[str] = []

    def attach(self, device: UsbDevice) -> None:
        assert self.device is None
        self.device = device
        self.history.append("dfu" if isinstance(device, Bootloader) else "normal")
        device.on_attached()

    def detach(self) -> None:
        if self.device is not None:
            self.device.on_detached()
            self.history.append("-")
        self.device = None


class NoNetwork:
    """A radio that reaches nothing."""

    def socket(self, family: int = socket.AF_INET, type: int = socket.SOCK_STREAM) -> socket.socket:
        raise OSError(f"no network for family {family}, type {type}")

    def resolve(self, host: str) -> str | None:
        del host
        return None


@dataclass
class FakeCloud:
    """A cloud connection that does at once what it is told and remembers it."""

    state: int = 0
    calls: list[str] = field(default_factory=list)

    def start(self, auto_connect: bool = True) -> None:
        self.calls.append("start")
        if auto_connect:
            self.connect()

    def connect(self) -> None:
        self.calls.append("connect")
        self.state = 2

    def disconnect(self) -> None:
        self.calls.append("disconnect")
        self.state = 0

    def drop(self) -> None:
        self.calls.append("drop")
        self.state = 0

    def stop(
        self,
        goodbye_reason: str | None = None,
        *,
        reset_code: int | None = None,
        sleep_seconds: int | None = None,
    ) -> None:
        number = sleep_seconds if goodbye_reason == "sleep" else reset_code
        self.calls.append(f"stop {goodbye_reason} {number}")
        self.state = 0


class Bench:
    """One board, its port, its clock and the host's side of its control interface."""

    def __init__(
        self,
        state_dir: Path,
        name: str = "argon",
        device_os: str = "",
        library: ApplicationLibrary | None = None,
    ) -> None:
        default_os, device_id = BOARDS[name]
        self.clock = ManualScheduler()
        self.port = FakePort()
        self.clouds: list[FakeCloud] = []
        spec = BoardSpec(f"{name}-1", "1-1", by_name(name), device_os or default_os, device_id)
        self.board = VirtualBoard(
            spec,
            self.port,
            NoNetwork(),
            state_dir,
            library=library,
            make_cloud=self._make_cloud,
            scheduler=self.clock,
        )
        self.board.power_on()

    def _make_cloud(self, machine: Machine, host: ApplicationHost) -> FakeCloud:
        del machine, host
        self.clouds.append(FakeCloud())
        return self.clouds[-1]

    @property
    def machine(self) -> Machine:
        return self.board.machine

    @property
    def cloud(self) -> FakeCloud:
        return self.clouds[-1]

    @property
    def device(self) -> UsbDevice:
        assert self.port.device is not None
        return self.port.device

    @property
    def normal(self) -> NormalMode:
        assert isinstance(self.device, NormalMode)
        return self.device

    # -- control interface ---------------------------------------------------------------------------

    def service(self, request: int, value: int = 0, index: int = 0, length: int = 64) -> bytes:
        return self.device.control(Setup(0xC0, request, value, index, length))

    def send(self, handle: int, data: bytes) -> None:
        self.device.control(Setup(0x40, 3, 0, handle, len(data)), data)

    def request(self, number: int, payload: bytes = b"") -> tuple[int, bytes]:
        """A whole request: result code and reply data."""
        first = self.service(1, len(payload), number)
        handle = struct.unpack_from("<H", first, 6)[0]
        if payload:
            while self.service(2, 0, handle)[4:6] == b"\x02\x00":
                pass
            self.send(handle, payload)
        while (reply := self.service(2, 0, handle))[4:6] == b"\x02\x00":
            pass
        flags = reply[0]
        assert flags & 9 == 9, reply.hex()
        result = struct.unpack_from("<i", reply, len(reply) - 4)[0]
        if not flags & 4:
            return result, b""
        size = struct.unpack_from("<I", reply, 6)[0]
        return result, self.service(4, 0, handle, size)

    # -- serial --------------------------------------------------------------------------------------

    def open_serial(self, baud: int = 9600) -> list[bytes]:
        """Open the tty; returns the list that what the board sends is added to."""
        received: list[bytes] = []
        port = self.normal.port
        port.send = received.append
        port.set_coding(LineCoding(baud))
        port.modem_lines(dtr=True, rts=True)
        return received

    def type(self, keys: str) -> str:
        """Type into the console and return what it says."""
        received = self.open_serial()
        self.normal.port.receive(keys.encode())
        return b"".join(received).decode()
