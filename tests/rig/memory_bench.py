"""A bench in memory: udev, endpoint 0, serial touch and dfu-util of boards that hold flash and keys.

Enough of a board for the rules of the rig room; the virtual rack tests the same code against whole boards.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hil.device.modules import NO_PRODUCT, Dependency, Module, ModuleFunction, build, parse
from hil.device.platforms import Platform, UsbMode, by_name
from hil.device.protobuf import Writer
from hil.rig import board as board_module
from hil.rig import connection, modes
from hil.rig.board import Board
from hil.rig.connection import UsbTools
from hil.rig.power import PowerSwitch
from hil.rig.rigfile import SlotTable
from hil.usb import discovery
from hil.usb.control import ControlChannel
from hil.usb.dfu import DfuUtil, Outcome
from hil.usb.sysfs import UsbBoard
from tests.usb.usb_fakes import FakeUdev, FakeUsbTransport, udev_board, udev_tty

BUILD = "0123456789abcdef"


def user_image(
    platform: Platform,
    os_version: str = "6.2.0",
    *,
    build_id: str = BUILD,
    version: int = 6,
    needs: int = 0,
    own: bytes = b"",
    product_version: int | None = None,
) -> bytes:
    """The probe, or with ``own`` an application that does not say what it is; ``needs``: a system version."""
    part = platform.user_part_for(os_version)
    text = (own or f"HIL-APP:probe@1\nHIL-BUILD:{build_id}\n".encode()) + bytes(256)
    dependencies = [Dependency(ModuleFunction.SYSTEM_PART, 1, needs)] if needs else []
    return build(
        platform.id,
        ModuleFunction.USER_PART,
        part.index,
        version,
        part.start,
        text,
        dependencies,
        product_id=None if product_version is None else 4711,
        product_version=NO_PRODUCT if product_version is None else product_version,
    )


class BenchBoard:
    """One board. ``flash`` holds modules by address, ``dct`` the keys; ``runs`` is what the loader found valid."""

    def __init__(self, udev: FakeUdev, slot: SlotTable) -> None:
        self.udev = udev
        self.slot = slot
        self.platform = by_name(slot.platform)
        self.device_id = slot.device_id or "e00fce68c3d4e5f607182930"
        self.os = slot.device_os
        self.system_version = 6200
        self.flash: dict[int, bytes] = {}
        self.dct = bytearray(b"\xff" * 16384)
        self.mode = UsbMode.NORMAL
        self.address = 1
        self.listening = False
        self.touchable = True
        self.plugged = False
        self.deaf_boots = 0
        self.dfu_calls: list[list[str]] = []
        self.lose_at: int | None = None
        self.failing_reads = 0
        self.probe_build: str | None = BUILD
        self.invalid = False
        self.requests: list[int] = []
        self.dfu_enumerates: Callable[[Callable[[], None]], None] = lambda enumerate_: enumerate_()

    # -- USB -----------------------------------------------------------------------------------------------

    def plug(self, mode: UsbMode = UsbMode.NORMAL) -> None:
        self.mode, self.address, self.plugged = mode, self.address + 1, True
        pid = self.platform.pid if mode is UsbMode.NORMAL else self.platform.dfu_pid
        self._device = udev_board(
            self.slot.port, f"{pid:04x}", self.address, self.device_id, f"{self.platform.vid:04x}"
        )
        self.udev.event("add", self._device)
        if mode is UsbMode.NORMAL:
            self.udev.event("add", udev_tty(self.slot.port, "ttyACM77"))

    def unplug(self) -> None:
        self.plugged = False
        self.udev.event("remove", udev_tty(self.slot.port, "ttyACM77"))
        self.udev.event("remove", self._device)

    def restart(self, mode: UsbMode = UsbMode.NORMAL) -> None:
        """Into DFU mode ``dfu_enumerates`` says when: it is handed what makes the board appear."""
        self.listening = False
        self.unplug()
        if mode is UsbMode.DFU:
            self.dfu_enumerates(lambda: self.plug(mode))
        else:
            self.plug(mode)

    # -- control requests ----------------------------------------------------------------------------------

    def control(self, request: int, payload: bytes) -> tuple[int, bytes]:
        del payload
        self.requests.append(request)
        if request == 10 and self.probe_build is None:
            return -120, b""
        if request == 10:
            return (
                0,
                b'{"app":"probe","version":1,"build":"%s","os":"x","boots":1,"uptime":5}' % self._build(),
            )
        if request in (40, 50, 60):
            self.restart(UsbMode.DFU if request == 50 else UsbMode.NORMAL)
        if request in (70, 71):
            self.listening = request == 70
        answers: dict[int, Callable[[], bytes]] = {
            20: lambda: Writer().text(1, self.device_id).finish(),
            30: lambda: Writer().text(1, self.os).finish(),
            72: lambda: Writer().uint(1, int(self.listening)).finish(),
            90: self._modules,
        }
        return 0, answers[request]() if request in answers else b""

    def _build(self) -> bytes:
        return self.probe_build.encode() if self.probe_build is not None else b""

    def _modules(self) -> bytes:
        reply = Writer()
        new = self.os >= "5.6.0"
        if new:
            system = Writer().uint(1, 4).uint(2, 1).uint(3, self.system_version).uint(11, 1000)
        else:
            system = Writer().uint(1, 2).uint(2, 1).uint(3, self.system_version).uint(4, 996)
        reply.message(2 if new else 1, system)
        for module in self.modules():
            fields = Writer().uint(1, 5 if new else 3).uint(2, module.index).uint(3, module.version)
            if new:
                fields.data(8, module.sha256).uint(11, module.size)
                fields.fixed32(6, 30).fixed32(7, 28 if self.invalid else 30)
            else:
                fields.uint(4, module.size - 4)
            reply.message(2 if new else 1, fields)
        return reply.finish()

    def modules(self) -> list[Module]:
        return [parse(data) for _, data in sorted(self.flash.items()) if data[:4] != b"\xff\xff\xff\xff"]

    # -- DFU -----------------------------------------------------------------------------------------------

    def dfu_util(self, arguments: list[str], on_line: Callable[[str], None], timeout: float) -> Outcome:
        del timeout
        assert arguments[3] == self.slot.port
        if not self.plugged or self.mode is not UsbMode.DFU:
            return Outcome(74, "dfu-util: No DFU capable USB device available")
        place = arguments[arguments.index("-s") + 1]
        alt = arguments[arguments.index("-a") + 1]
        self.dfu_calls.append(arguments[6:11])
        if place == ":leave":
            self.restart()
            return Outcome(74, "Submitting leave request...\nError during download get_status")
        address, _, size = place.partition(":")
        if "-U" in arguments:
            return self._upload(alt, int(address, 16), int(size), Path(arguments[-1]))
        return self._download(alt, int(address, 16), Path(arguments[-1]).read_bytes(), on_line)

    def _upload(self, alt: str, address: int, size: int, file: Path) -> Outcome:
        if self.failing_reads:
            self.failing_reads -= 1
            return Outcome(74, "Error during upload (LIBUSB_ERROR_OVERFLOW)")
        file.write_bytes(self.dct[address : address + size] if alt == "1" else self._read(address, size))
        return Outcome(0, "")

    def _read(self, address: int, size: int) -> bytes:
        """Internal flash; what was never written is blank."""
        found = bytearray(b"\xff" * size)
        for start, data in sorted(self.flash.items()):
            for place in range(max(start, address), min(start + len(data), address + size)):
                found[place - address] = data[place - start]
        return bytes(found)

    def _download(self, alt: str, address: int, data: bytes, on_line: Callable[[str], None]) -> Outcome:
        if self.lose_at == address:
            self.lose_at = None
            self.unplug()
            return Outcome(74, "Download\t[=====     ]  20%   100 bytes\nError during download get_status")
        if alt == "1":
            self.dct[address : address + len(data)] = data
        else:
            self.flash[address] = data
        on_line(f"Download\t[==========] 100%  {len(data)} bytes")
        return Outcome(0, "File downloaded successfully")


class Switch:
    """The power of one board; ``works`` is false for a switch that says yes and does nothing."""

    available = True

    def __init__(self, there: BenchBoard, *, works: bool = True) -> None:
        self._there = there
        self.works = works
        self.calls: list[str] = []

    def on(self) -> None:
        self.calls.append("on")
        if self.works and not self._there.plugged:
            self._there.plug()

    def off(self) -> None:
        self.calls.append("off")
        if self._there.plugged:
            self._there.unplug()


class Bench:
    """Boards of the given slots on a USB that is watched."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, slots: list[SlotTable]) -> None:
        self.udev = FakeUdev()
        self.watcher = discovery.UsbWatcher(self.udev)
        self.watcher.start()
        self.boards = {slot.port: BenchBoard(self.udev, slot) for slot in slots}
        for each in self.boards.values():
            each.plug()
        self.tools = UsbTools(self._channel, self._dfu, self._touch)
        monkeypatch.setattr(modes, "RESTART_STABLE", 0)
        monkeypatch.setattr(board_module, "SETTLE", 0)
        monkeypatch.setattr(modes, "_TOUCH_WITHIN", 0.01)
        monkeypatch.setattr(modes, "_GONE_WITHIN", 0.01)
        monkeypatch.setattr(modes, "VANISHED_WITHIN", 0.02)
        for module in (connection, modes):
            monkeypatch.setattr(module, "APPEARS_WITHIN", 0.01)
        monkeypatch.setattr(connection, "LEAVES_WITHIN", 0.01)

    def board(self, slot: SlotTable, power: PowerSwitch | None = None) -> Board:
        return Board(slot, self.watcher, power, tools=self.tools)

    def _channel(self, usb: UsbBoard) -> ControlChannel:
        return ControlChannel(usb, FakeUsbTransport(self.boards[usb.port].control), sleep=lambda _: None)

    def _dfu(self, usb: UsbBoard, name: str) -> DfuUtil:
        return DfuUtil(usb, name, self.boards[usb.port].dfu_util)

    def _touch(self, tty: str, baud: int) -> None:
        assert tty == "/dev/ttyACM77"
        for each in self.boards.values():
            if each.touchable and each.plugged and each.mode is UsbMode.NORMAL and baud == 14400:
                each.restart(UsbMode.DFU)


def slot(name: str, port: str, platform: str, device_os: str, **more: object) -> SlotTable:
    """A slot as a rig file would have it."""
    values = {"name": name, "port": port, "platform": platform, "device_os": device_os, **more}
    return SlotTable.model_validate(values)


ARGON = slot("argon-1", "1-3", "argon", "6.2.0", device_id="e00fce68aabbccddeeff0011", features=("ethernet",))
PHOTON = slot("photon-1", "1-1", "photon", "2.3.1", device_id="3d0034000747343337373738")
