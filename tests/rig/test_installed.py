"""Which application is on a board, for applications that nobody can ask: the module table, and flash memory itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from hil.device.modules import parse
from hil.device.platforms import UsbMode, by_name
from hil.rig.board import Board
from hil.rig.images import Image, read_image
from hil.rig.rigfile import SlotTable
from tests.rig.memory_bench import ARGON, PHOTON, Bench, BenchBoard, slot, user_image

ELECTRON = slot("electron-1", "1-2", "electron", "3.3.1")
BORON = slot("boron-1", "1-4", "boron", "2.3.1")
WITHOUT_HASHES = [PHOTON, ELECTRON, BORON]


def started(monkeypatch: pytest.MonkeyPatch, table: SlotTable) -> tuple[Board, BenchBoard]:
    """A board whose application answers no control request."""
    bench = Bench(monkeypatch, [table])
    there = bench.boards[table.port]
    there.probe_build = None
    return bench.board(table), there


def own_image(table: SlotTable, text: bytes = b"greenhouse, first") -> Image:
    return read_image(user_image(by_name(table.platform), table.device_os, own=text), Path("greenhouse.bin"))


def written(there: BenchBoard) -> list[str]:
    return [call[3] for call in there.dfu_calls if call[-1] == "-D"]


def test_the_hash_in_the_module_table_tells_applications_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    board, there = started(monkeypatch, ARGON)
    image = own_image(ARGON)
    there.flash[0xB4000] = image.data
    assert board.runs(image)
    assert not board.runs(own_image(ARGON, b"greenhouse, other"))
    assert there.dfu_calls == []


@pytest.mark.parametrize("table", WITHOUT_HASHES, ids=lambda table: str(table.platform))
def test_without_hashes_flash_memory_tells_and_is_not_written_again(
    monkeypatch: pytest.MonkeyPatch, table: SlotTable
) -> None:
    board, there = started(monkeypatch, table)
    image = own_image(table)
    there.flash[image.module.start] = image.data
    assert board.runs(image)
    assert not board.flash(image).written
    assert written(there) == []
    assert there.mode is UsbMode.NORMAL
    there.restart()
    assert not board.flash(image).written
    assert written(there) == []


@pytest.mark.parametrize("table", WITHOUT_HASHES, ids=lambda table: str(table.platform))
def test_another_build_of_the_same_size_is_told_apart_without_hashes(
    monkeypatch: pytest.MonkeyPatch, table: SlotTable
) -> None:
    board, there = started(monkeypatch, table)
    there.flash[own_image(table).module.start] = own_image(table, b"greenhouse, other").data
    image = own_image(table)
    assert not board.runs(image)
    assert board.flash(image).written
    assert board.runs(image)


def test_what_was_seen_is_not_looked_up_again_before_the_next_restart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    board, there = started(monkeypatch, PHOTON)
    image = own_image(PHOTON)
    there.flash[image.module.start] = image.data
    assert board.runs(image)
    looked = len(there.dfu_calls)
    assert board.runs(image)
    assert len(there.dfu_calls) == looked
    there.restart()  # an update over the air comes with a restart
    there.flash[image.module.start] = own_image(PHOTON, b"greenhouse, after").data
    assert not board.runs(image)


def test_a_damaged_copy_with_the_right_end_is_not_taken_for_the_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    board, there = started(monkeypatch, PHOTON)
    image = own_image(PHOTON)
    damaged = bytearray(image.data)
    damaged[100] ^= 1
    there.flash[image.module.start] = bytes(damaged)
    monkeypatch.setattr(there, "modules", lambda: [parse(image.data)])  # the table does not look that closely
    there.restart(UsbMode.DFU)
    assert not board.runs(image)


def test_a_board_found_in_dfu_mode_is_looked_at_and_not_written_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    board, there = started(monkeypatch, ARGON)
    image = own_image(ARGON)
    there.flash[0xB4000] = image.data
    there.restart(UsbMode.DFU)
    assert not board.flash(image).written
    assert written(there) == []
    assert there.mode is UsbMode.NORMAL


def test_an_older_application_beside_it_is_cleared_over_dfu_too(monkeypatch: pytest.MonkeyPatch) -> None:
    board, there = started(monkeypatch, ARGON)
    image = own_image(ARGON)
    there.flash |= {0xB4000: image.data, 0xD4000: user_image(by_name("argon"), "3.0.0")}
    there.restart(UsbMode.DFU)
    assert board.flash(image).written
    assert there.flash[0xD4000] == b"\xff" * 4096


def test_safe_mode_runs_nothing_and_coming_back_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    board, there = started(monkeypatch, ARGON)
    image = own_image(ARGON)
    there.flash[0xB4000] = image.data
    board.enter_safe_mode()
    assert not board.runs(image)
    board.modes.come_back()
    assert board.runs(image)


def test_an_application_that_device_os_calls_invalid_is_not_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    board, there = started(monkeypatch, ARGON)
    assert board.application.healthy() is False, "there is none"
    there.flash[0xB4000] = own_image(ARGON).data
    assert board.application.healthy() is True
    there.invalid = True
    assert board.application.healthy() is False
    there.restart(UsbMode.DFU)
    assert board.application.healthy() is None, "a bootloader tells no modules"
