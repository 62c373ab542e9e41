"""Modes: every way out of the cloud is announced before the board takes it, and every mode leads back to normal."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hil.device.platforms import UsbMode
from hil.errors import UsageError
from hil.rig.board import Board
from hil.rig.modes import ControlModes, Mode, Modes
from hil.rig.rigfile import SlotTable
from tests.rig.memory_bench import ARGON, Bench, BenchBoard, slot, user_image

CORE = slot("core-1", "1-9", "core", "1.4.4", device_id="53ff6c066667574834512467")
Action = Callable[["Watched"], object]


class Switch:
    """The board's power."""

    available = True

    def __init__(self, there: BenchBoard) -> None:
        self._there = there

    def on(self) -> None:
        if not self._there.plugged:
            self._there.plug()

    def off(self) -> None:
        if self._there.plugged:
            self._there.unplug()


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
