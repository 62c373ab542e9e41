"""Modes: every way out of the cloud is announced before the board takes it, and every mode leads back to normal."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hil.device.platforms import UsbMode
from hil.errors import UsageError
from hil.rig.board import Board
from hil.rig.modes import ControlModes, Mode, Modes
from hil.rig.rigfile import SlotTable
from hil.usb import access
from hil.usb.sysfs import UsbBoard
from hil.usb.transport import NoPermission, TransferError
from tests.rig.memory_bench import ARGON, Bench, BenchBoard, Switch, slot, user_image

CORE = slot("core-1", "1-9", "core", "1.4.4", device_id="53ff6c066667574834512467")
Action = Callable[["Watched"], object]


class Watched(Board):
    """A board that notes what USB showed when it was about to leave, and whether it restarts."""

    def watch(self) -> list[tuple[int | None, bool]]:
        self.left: list[tuple[int | None, bool]] = []
        return self.left

    def leaving(self, restarts: bool) -> None:
        usb = self.connection.watcher.at(self.port)
        self.left.append((usb.address if usb is not None else None, restarts))


def board_of(monkeypatch: pytest.MonkeyPatch, table: SlotTable) -> tuple[Watched, BenchBoard]:
    bench = Bench(monkeypatch, [table])
    there = bench.boards[table.port]
    made = Watched(table, bench.watcher, Switch(there), bench.tools)
    made.watch()
    return made, there


def image() -> bytes:
    return user_image(ARGON.board_platform)


RESTARTS: dict[str, Action] = {
    "reset": lambda board: board.reset(),
    "power cycle": lambda board: board.power_cycle(off_for=0),
    "power": lambda board: board.power.off(),
    "DFU": lambda board: board.enter_dfu(),
    "safe mode": lambda board: board.enter_safe_mode(),
    "flash": lambda board: board.flash(image()),
    "unchecked flash": lambda board: board.flash_unchecked(image(), 0xB4000),
}


@pytest.mark.parametrize("action", RESTARTS)
def test_a_restart_is_announced_before_it_happens(monkeypatch: pytest.MonkeyPatch, action: str) -> None:
    board, there = board_of(monkeypatch, ARGON)
    before = there.address
    RESTARTS[action](board)
    assert board.left[0] == (before, True)


def test_coming_out_of_dfu_is_a_restart_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    board, there = board_of(monkeypatch, ARGON)
    there.restart(UsbMode.DFU)
    before = there.address
    board.leave_dfu()
    assert board.left == [(before, True)]


def test_listening_takes_a_board_off_the_cloud_without_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    board, there = board_of(monkeypatch, ARGON)
    monkeypatch.setattr(board.serial, "wait_attached", lambda _: True)
    before = there.address
    board.enter_listening()
    assert board.left == [(before, False)]


@pytest.mark.parametrize("command", ["sleep", "disconnect"])
def test_what_the_probe_is_told_to_leave_for_is_announced(
    monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    board, there = board_of(monkeypatch, ARGON)
    before = there.address
    if command == "sleep":
        board.probe.sleep(1)
    else:
        board.probe.disconnect()
    assert board.left == [(before, False)]


@pytest.mark.parametrize("mode", Mode)
def test_every_mode_leads_back_to_normal(monkeypatch: pytest.MonkeyPatch, mode: Mode) -> None:
    board, there = board_of(monkeypatch, ARGON)
    if mode is Mode.OFF:
        there.unplug()
    elif mode is Mode.DFU:
        there.restart(UsbMode.DFU)
    elif mode is Mode.LISTENING:
        there.listening = True
    elif mode is Mode.SAFE:
        board.enter_safe_mode()
    assert board.modes.current() is mode
    board.modes.come_back()
    assert board.modes.current() is Mode.NORMAL
    assert there.mode is UsbMode.NORMAL


def test_6_15_a_touched_board_that_takes_its_time_gets_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Issue 6, point 15 b: a kernel enumerates the boards of one hub one after another."""
    board, there = board_of(monkeypatch, ARGON)
    late: list[Callable[[], None]] = []
    there.dfu_enumerates = late.append
    watcher, waits = board.connection.watcher, []
    real = watcher.wait

    def wait(port: str, mode: UsbMode, within: float, *, since: UsbBoard | None = None) -> UsbBoard:
        waits.append(within)
        late.pop()()  # only now the kernel comes to it
        return real(port, mode, within, since=since)

    monkeypatch.setattr(watcher, "wait", wait)
    board.enter_dfu(within=25)
    assert there.mode is UsbMode.DFU
    assert waits == [25], "the whole time, not what the touch left of it"
    assert 50 not in there.requests


def test_6_15_a_board_that_leaves_while_it_is_asked_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Issue 6, point 15 b: the touch worked, and libusb knew it before udev."""
    board, there = board_of(monkeypatch, ARGON)
    there.touchable = False

    def control(request: int, payload: bytes) -> tuple[int, bytes]:
        del payload
        assert request == 50
        there.restart(UsbMode.DFU)
        raise TransferError("the board left", gone=True)

    monkeypatch.setattr(there, "control", control)
    board.enter_dfu()
    assert there.mode is UsbMode.DFU


def test_a_board_of_a_bus_that_is_gone_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a rack that was killed no event tells: USB shows its boards as before."""
    board, there = board_of(monkeypatch, ARGON)
    asked = []

    def control(request: int, payload: bytes) -> tuple[int, bytes]:
        del payload
        asked.append(request)
        raise TransferError("no such device", gone=True)

    monkeypatch.setattr(there, "control", control)
    with pytest.raises(TransferError, match="no such device"):
        board.modes.current()
    assert asked == [72]


def test_a_board_that_was_back_before_the_question_failed_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    board, there = board_of(monkeypatch, ARGON)
    real = there.control

    def control(_request: int, _payload: bytes) -> tuple[int, bytes]:
        monkeypatch.setattr(there, "control", real)
        there.restart()
        raise TransferError("the board left", gone=True)

    monkeypatch.setattr(there, "control", control)
    assert board.modes.current() is Mode.NORMAL


def test_a_board_that_is_deaf_to_the_touch_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    board, there = board_of(monkeypatch, ARGON)
    there.touchable = False
    board.enter_dfu()
    assert there.mode is UsbMode.DFU
    assert 50 in there.requests


@pytest.mark.parametrize("action", ["flash", "DFU", "reset", "safe mode"])
def test_6_15_a_board_that_got_its_power_a_moment_ago_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    """Issue 6, point 15 c: enumeration takes its time after the switch said that the power is on."""
    board, there = board_of(monkeypatch, ARGON)
    board.power.off()
    watcher = board.connection.watcher
    real = watcher.wait_present

    def wait_present(port: str, within: float) -> UsbBoard | None:
        if not there.plugged:
            there.plug()
        return real(port, within)

    monkeypatch.setattr(watcher, "wait_present", wait_present)
    RESTARTS[action](board)
    assert there.plugged


def test_6_19_the_power_is_off_when_usb_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Issue 6, point 19, the cause of ``test_unplugged_half_way``: a board that was taken for the one that comes."""
    board, there = board_of(monkeypatch, ARGON)
    watcher = board.connection.watcher
    real = watcher.wait_gone
    slow = there.unplug
    monkeypatch.setattr(there, "unplug", lambda: None)

    def wait_gone(usb: UsbBoard, within: float) -> bool:
        slow()  # only now the kernel notices
        return real(usb, within)

    monkeypatch.setattr(watcher, "wait_gone", wait_gone)
    board.power.off()
    assert not board.present


def test_6_15_a_closed_node_is_said_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Issue 6, point 15 e: no patience opens it, so none is spent."""
    board, _ = board_of(monkeypatch, ARGON)
    tty = tmp_path / "tty"
    tty.touch()
    monkeypatch.setattr(access, "usb_node", lambda _bus, _address: tty)
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(board.connection.watcher, "wait_gone", lambda *_: pytest.fail("it waited"))
    with pytest.raises(NoPermission, match="no permission to talk to argon at USB port 1-3"):
        board.wait_ready()


def test_6_15_a_refused_transfer_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    board, there = board_of(monkeypatch, ARGON)

    def refuse(_request: int, _payload: bytes) -> tuple[int, bytes]:
        raise NoPermission(board.usb, Path("/dev/bus/usb/001/002"))

    monkeypatch.setattr(there, "control", refuse)
    monkeypatch.setattr(board.connection.watcher, "wait_gone", lambda *_: pytest.fail("it waited"))
    with pytest.raises(NoPermission):
        board.wait_ready()


def test_a_board_without_the_control_interface_does_the_same_by_touch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    board, there = board_of(monkeypatch, CORE)
    assert type(board.modes) is Modes
    assert isinstance(board_of(monkeypatch, ARGON)[0].modes, ControlModes)
    before = there.address
    board.reset()
    assert (there.address, there.mode) == (before + 2, UsbMode.NORMAL)
    with pytest.raises(UsageError, match="a Core cannot be sent into safe mode"):
        board.enter_safe_mode()
