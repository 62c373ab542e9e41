"""Power never stays off, and a board that vanishes holds nobody up (issue 6, point 16)."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from hil.errors import BoardNotFound, FlashError, HilError, RigError
from hil.rig.board import Board
from hil.rig.cloud_board import CloudBoard
from hil.rig.live import Rig
from hil.rig.locks import PortLock
from hil.rig.modes import BoardVanished
from hil.rig.pool import BoardPool, SlotState
from hil.rig.power import cycle
from hil.rig.rigfile import CloudTable, RigFile, SlotTable
from hil.rig.switchfailed import SwitchFailed
from hil.usb.transport import TransferError
from tests.rig.memory_bench import ARGON, PHOTON, Bench, Switch

_CYCLE = """
import sys
from hil.rig.power import CommandPower, cycle
script = 'echo $0 >> "$1"; echo $0-done >> "$1"'
commands = {state: ["sh", "-c", script, state, sys.argv[1]] for state in ("on", "off")}
def rest(_):
    print("dark", flush=True)
    sys.stdin.read()
cycle(CommandPower("x", commands["on"], commands["off"]), sleep=rest)
"""


class Strip:
    """A pool whose boards have switches."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path, *slots: SlotTable) -> None:
        self.bench = Bench(monkeypatch, list(slots))
        self.switches = {each.name: Switch(self.bench.boards[each.port]) for each in slots}
        self.folder = folder
        self.rig = RigFile(name="test", cloud=CloudTable(host="127.0.0.1"), slots=slots)
        self.pool = BoardPool(self.rig, self.bench.watcher, self._board, lambda port: PortLock(port, folder))

    def _board(self, table: SlotTable, _watcher: object) -> Board:
        return self.bench.board(table, self.switches[table.name])


class Interrupted:
    """A switch that an impatient person interrupts, the first time it is switched on."""

    available = True

    def __init__(self) -> None:
        self.calls: list[str] = []

    def on(self) -> None:
        self.calls.append("on")
        if self.calls.count("on") == 1:
            raise KeyboardInterrupt

    def off(self) -> None:
        self.calls.append("off")


@pytest.mark.parametrize("trouble", [KeyboardInterrupt, RigError("the test broke off")])
def test_6_16_a_cycle_that_is_broken_off_ends_with_power(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trouble: type[BaseException] | BaseException
) -> None:
    strip = Strip(monkeypatch, tmp_path, ARGON)

    def broken(_seconds: float) -> None:
        raise trouble

    with pytest.raises((KeyboardInterrupt, RigError)):
        cycle(strip.switches["argon-1"], sleep=broken)
    assert strip.bench.boards["1-3"].plugged


def test_6_16_a_second_ctrl_c_does_not_keep_the_power_off() -> None:
    switch = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        cycle(switch, off_for=0)
    assert switch.calls == ["off", "on", "on"]


def test_6_16_ctrl_c_at_a_terminal_leaves_no_board_dark(tmp_path: Path) -> None:
    state = tmp_path / "state"
    process = subprocess.Popen(
        [sys.executable, "-c", _CYCLE, str(state)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout as said:
        assert said.readline() == b"dark\n"
        process.send_signal(signal.SIGINT)
        process.wait(30)
    assert state.read_text().split() == ["off", "off-done", "on", "on-done"]


def test_6_16_a_block_without_power_ends_with_power(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    strip = Strip(monkeypatch, tmp_path, ARGON)
    board = strip.pool.acquire("argon")
    seen: list[bool] = []
    with pytest.raises(ZeroDivisionError), board.without_power():
        seen.append(board.present or 1 // 0 > 0)
    assert seen == []
    assert board.present


def test_6_16_a_board_that_a_test_left_dark_is_given_back_lit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    strip = Strip(monkeypatch, tmp_path, ARGON, PHOTON)
    for platform in ("argon", "photon"):
        strip.pool.acquire(platform).power.off()
    strip.pool.close()
    assert [there.plugged for there in strip.bench.boards.values()] == [True, True]


def test_6_16_a_board_that_stays_dark_is_told_once_and_the_others_are_given_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    strip = Strip(monkeypatch, tmp_path, ARGON, PHOTON)
    boards = [strip.pool.acquire(platform) for platform in ("argon", "photon")]
    for board in boards:
        board.power.off()

    def refuse() -> None:
        raise RigError("the relay is stuck")

    monkeypatch.setattr(strip.switches["argon-1"], "on", refuse)
    with pytest.raises(RigError, match="the relay is stuck"):
        strip.pool.close()
    assert strip.bench.boards["1-1"].plugged
    again = strip.pool.acquire("photon")
    strip.pool.release(again)
    strip.pool.quarantine(boards[0], "it vanished")
    strip.pool.close()


def test_6_16_a_run_begins_with_power_for_every_board_that_is_dark(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As after ``kill -9`` of the run before, in the middle of a power cycle."""
    strip = Strip(monkeypatch, tmp_path, ARGON, PHOTON)
    for there in strip.bench.boards.values():
        there.unplug()
    strip.pool.switch_on(["argon-1"])
    assert [there.plugged for there in strip.bench.boards.values()] == [True, True]
    assert [each.calls for each in strip.switches.values()] == [["on"], ["on"]]
    assert strip.pool.acquire_slot("argon-1").name == "argon-1"


def test_a_board_that_somebody_else_uses_is_not_switched(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    strip = Strip(monkeypatch, tmp_path, ARGON)
    strip.bench.boards["1-3"].unplug()
    other = PortLock("1-3", tmp_path)
    other.acquire()
    strip.pool.switch_on(["argon-1"])
    other.release()
    assert strip.switches["argon-1"].calls == []


def test_6_16_a_board_that_vanished_has_its_switch_tried(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    strip = Strip(monkeypatch, tmp_path, ARGON)
    board = strip.pool.acquire("argon")
    strip.switches["argon-1"].works = False
    strip.bench.boards["1-3"].unplug()
    monkeypatch.setattr("hil.rig.power.OFF_FOR", 0)
    with pytest.raises(BoardVanished, match="switched its power on, and off and on"):
        board.modes.come_back()
    assert strip.switches["argon-1"].calls == ["on", "off", "on"]


def test_a_switch_that_fails_is_not_made_to_cut_the_power_as_well(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    strip = Strip(monkeypatch, tmp_path, ARGON)
    board, switch = strip.pool.acquire("argon"), strip.switches["argon-1"]
    strip.bench.boards["1-3"].unplug()

    def refuse() -> None:
        switch.calls.append("on")
        raise SwitchFailed("the broker is down")

    monkeypatch.setattr(switch, "on", refuse)
    with pytest.raises(BoardVanished, match="not switched its power on: the broker is down"):
        board.modes.come_back()
    assert switch.calls == ["on"]


def test_6_16_an_empty_slot_is_set_aside_at_the_start_and_the_rest_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    strip = Strip(monkeypatch, tmp_path, ARGON, PHOTON)
    strip.switches["argon-1"].works = False
    strip.bench.boards["1-3"].unplug()
    strip.pool.switch_on(["argon-1", "photon-1"])
    assert strip.pool.status()[0].state is SlotState.QUARANTINED
    with pytest.raises(BoardNotFound, match="is not on USB"):
        strip.pool.acquire_slot("argon-1")
    assert strip.pool.acquire_slot("photon-1").name == "photon-1"


class Stubborn:
    """A board that fails until it has been through ``cure``; notes what was done to it."""

    def __init__(self, cure: str, trouble: HilError) -> None:
        self.cure, self.trouble = cure, trouble
        self.done: list[str] = []
        self.name = "argon-1"
        self.power = SimpleNamespace(available=True)

    def make_ready(self, _image: object, *, online: bool) -> None:
        assert online
        if self.cure not in self.done:
            raise self.trouble

    def recover(self) -> None:
        self.done.append("recover")

    def power_cycle(self) -> None:
        self.done.append("power cycle")


class Notes:
    """A pool that takes notes."""

    def __init__(self) -> None:
        self.aside: list[str] = []
        self.quarantined: Callable[[object], None] = lambda _: None
        self.failures: list[str] = []

    def quarantine(self, _board: object, reason: str) -> None:
        self.aside.append(reason)

    def report(self, _board: object, rig_failure: str = "") -> None:
        self.failures.append(rig_failure)


def rig_with(tmp_path: Path) -> tuple[Rig, Notes]:
    made = Rig(RigFile(name="test", cloud=CloudTable(host="127.0.0.1"), slots=(ARGON,)), tmp_path)
    notes = Notes()
    made.pool = cast(BoardPool, notes)
    return made, notes


def test_6_16_the_last_rung_of_recovery_is_the_switch(tmp_path: Path) -> None:
    rig, notes = rig_with(tmp_path)
    board = Stubborn("power cycle", FlashError("it does not take it"))
    rig.make_ready(cast(CloudBoard, board), None)
    assert board.done == ["recover", "power cycle"]
    assert notes.failures == [""]


def test_6_16_a_board_that_left_is_not_asked_for_a_reset_but_switched(tmp_path: Path) -> None:
    rig, _ = rig_with(tmp_path)
    board = Stubborn("power cycle", TransferError("argon-1 is gone", gone=True))
    rig.make_ready(cast(CloudBoard, board), None)
    assert board.done == ["power cycle"]


def test_6_16_a_switch_that_fails_does_not_hide_what_the_board_has(tmp_path: Path) -> None:
    rig, notes = rig_with(tmp_path)
    board = Stubborn("never", FlashError("argon-1 does not take it"))

    def refuse() -> None:
        raise SwitchFailed("the relay is stuck")

    board.power_cycle = refuse  # type: ignore[method-assign]
    with pytest.raises(FlashError, match="argon-1 does not take it"):
        rig.make_ready(cast(CloudBoard, board), None)
    assert notes.failures == ["argon-1 does not take it"]


def test_6_16_a_board_that_vanished_is_set_aside_at_once(tmp_path: Path) -> None:
    rig, notes = rig_with(tmp_path)
    board = Stubborn("never", BoardVanished("argon-1 is not on USB"))
    with pytest.raises(BoardVanished):
        rig.make_ready(cast(CloudBoard, board), None)
    assert board.done == [], "its switch was tried already"
    assert notes.aside


def test_a_bench_without_a_single_board_ends_with_one_message(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    strip = Strip(monkeypatch, tmp_path, ARGON, PHOTON)
    for there in strip.bench.boards.values():
        there.unplug()
    for switch in strip.switches.values():
        switch.works = False
    rig = Rig(strip.rig, tmp_path / "cloud")
    rig.pool = strip.pool
    with pytest.raises(BoardNotFound, match="no board can be had") as caught:
        rig.prepare({"argon-1": None, "photon-1": None})
    assert "argon-1" in caught.value.found
    assert "photon-1" in caught.value.found
