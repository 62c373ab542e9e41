"""Flashing: what is refused beforehand, what is written where, what is skipped, how a failure is recovered."""

from __future__ import annotations

from pathlib import Path

import pytest

from hil.device.modules import parse
from hil.device.platforms import UsbMode, by_name
from hil.errors import FlashError, ImageRefused, NotRunning
from hil.rig.board import Board
from tests.rig.memory_bench import ARGON, PHOTON, Bench, BenchBoard, slot, user_image

OTHER_BUILD = "fedcba9876543210"
BORON = slot("boron-1", "1-4", "boron", "2.3.1")


def argon(monkeypatch: pytest.MonkeyPatch) -> tuple[Board, BenchBoard]:
    bench = Bench(monkeypatch, [ARGON])
    return bench.board(ARGON), bench.boards["1-3"]


def test_an_application_is_written_where_its_prefix_says_and_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    board, there = argon(monkeypatch)
    image = user_image(board.platform)
    steps: list[tuple[int, int]] = []
    report = board.flash(image, progress=lambda done, total: steps.append((done, total)))
    assert report.written
    assert there.flash[0xB4000] == image
    assert there.mode is UsbMode.NORMAL
    assert steps == [(len(image), len(image))]


def test_gen3_s_old_user_part_is_cleared_before_the_new_one_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    board, there = argon(monkeypatch)
    board.flash(user_image(board.platform))
    places = [call[3] for call in there.dfu_calls]
    assert places == ["0x000d4000", "0x000b4000", ":leave"]
    assert there.flash[0xD4000] == b"\xff" * 4096


@pytest.mark.parametrize(("table", "os", "place"), [(PHOTON, "2.3.1", 0x080A0000), (BORON, "2.3.1", 0xD4000)])
def test_older_boards_have_one_user_part_and_nothing_to_clear(
    monkeypatch: pytest.MonkeyPatch, table: object, os: str, place: int
) -> None:
    assert table in (PHOTON, BORON)
    chosen = PHOTON if table is PHOTON else BORON
    bench = Bench(monkeypatch, [chosen])
    board = bench.board(chosen)
    board.flash(user_image(board.platform, os))
    assert list(bench.boards[chosen.port].flash) == [place]


def test_the_same_image_is_not_written_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    board, there = argon(monkeypatch)
    image = user_image(board.platform)
    assert board.flash(image).written
    calls = len(there.dfu_calls)
    assert not board.flash(image).written
    assert len(there.dfu_calls) == calls
    assert board.flash(image, force=True).written


def test_another_build_of_the_same_version_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    board, there = argon(monkeypatch)
    board.flash(user_image(board.platform))
    other = user_image(board.platform, build_id=OTHER_BUILD)
    assert board.flash(other).written
    assert there.flash[0xB4000] == other


def test_without_hashes_the_probe_s_build_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, [PHOTON])
    board, there = bench.board(PHOTON), bench.boards["1-1"]
    image = user_image(board.platform, "2.3.1")
    assert board.flash(image).written
    assert not board.flash(image).written
    there.probe_build = OTHER_BUILD
    there.restart()
    assert board.flash(image).written


def test_a_second_application_on_the_board_forbids_skipping(monkeypatch: pytest.MonkeyPatch) -> None:
    board, there = argon(monkeypatch)
    image = user_image(board.platform)
    board.flash(image)
    there.flash[0xD4000] = user_image(board.platform, "3.0.0")
    assert board.flash(image).written
    assert there.flash[0xD4000] == b"\xff" * 4096


@pytest.mark.parametrize(
    ("image", "cause"),
    [
        (user_image(by_name("argon"))[:-1] + b"\0", "CRC-32"),
        (user_image(by_name("argon"))[:-50], "wrong length"),
        (b"not a module", "too short"),
        (user_image(by_name("boron")), "another platform"),
        (user_image(by_name("argon"), needs=6201), "Device OS 6.2.0 .version 6200."),
    ],
)
def test_a_bad_image_is_refused_before_the_board_is_touched(
    monkeypatch: pytest.MonkeyPatch, image: bytes, cause: str
) -> None:
    board, there = argon(monkeypatch)
    with pytest.raises(ImageRefused, match=cause) as caught:
        board.flash(image)
    assert "argon-1 (argon at USB port 1-3)" in str(caught.value)
    assert there.dfu_calls == []
    assert there.mode is UsbMode.NORMAL


def test_a_missing_file_names_board_and_path(monkeypatch: pytest.MonkeyPatch) -> None:
    board, _ = argon(monkeypatch)
    with pytest.raises(ImageRefused, match=r"(?s)argon-1.*/nowhere/probe.bin") as caught:
        board.flash(Path("/nowhere/probe.bin"))
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_a_board_unplugged_half_way_is_named_and_the_next_flash_recovers_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    board, there = argon(monkeypatch)
    there.lose_at = 0xB4000
    image = user_image(board.platform)
    with pytest.raises(FlashError, match=r"write .* on argon-1 .*1-3.*\n.*unplugged half-way"):
        board.flash(image)
    there.plug(UsbMode.DFU)
    assert board.flash(image).written
    assert there.modules()[0].data == image


def test_dfu_is_requested_when_the_touch_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    board, there = argon(monkeypatch)
    there.touchable = False
    assert board.flash(user_image(board.platform)).written


def test_a_board_that_keeps_its_old_application_did_not_take_the_flash(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    board, there = argon(monkeypatch)
    old = user_image(board.platform, build_id=OTHER_BUILD)
    monkeypatch.setattr(there, "modules", lambda: [parse(old)])
    with pytest.raises(NotRunning):
        board.flash(user_image(board.platform))
