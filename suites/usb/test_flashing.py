"""What can go wrong while a board is flashed: each ends in an error that names board and cause, and the next test
gets a working board, which its ``board`` fixture proves."""

from __future__ import annotations

import threading

import pytest

from hil.errors import FlashError, ImageRefused, NotRunning
from hil.testing import Board, Firmware

pytestmark = pytest.mark.firmware("probe", version=1)


def test_a_board_that_runs_exactly_this_is_not_flashed_again(board: Board, firmware: Firmware) -> None:
    report = board.flash(firmware("probe", version=1))
    assert not report.written


def test_a_corrupted_image_is_refused_before_the_board_is_touched(board: Board, firmware: Firmware) -> None:
    data = bytearray(firmware("probe", version=2).data)
    data[len(data) // 2] ^= 0x01
    usb = board.usb
    with pytest.raises(ImageRefused) as caught:
        board.flash(bytes(data))
    assert board.name in str(caught.value)
    assert "CRC" in str(caught.value)
    assert board.usb == usb


def test_an_image_for_another_platform_is_refused(board: Board, firmware: Firmware) -> None:
    other = "boron" if board.platform.name != "boron" else "argon"
    with pytest.raises(ImageRefused) as caught:
        board.flash(firmware("probe", version=2, platform=other))
    assert board.name in str(caught.value)
    assert board.platform.name in str(caught.value).lower()


@pytest.mark.board("electron", "argon")
def test_a_corrupted_image_that_dfu_util_wrote_does_not_run(board: Board, firmware: Firmware) -> None:
    image = firmware("probe", version=2)
    data = bytearray(image.data)
    data[len(data) // 2] ^= 0x01
    with pytest.raises(NotRunning) as caught:
        board.flash_unchecked(bytes(data), image.module.start)
    assert board.name in str(caught.value)


@pytest.mark.board("electron")
def test_an_image_for_another_platform_that_dfu_util_wrote_does_not_run(
    board: Board, firmware: Firmware
) -> None:
    other = "boron" if board.platform.name != "boron" else "argon"
    image = firmware("probe", version=2, platform=other)
    start = board.platform.user_part_for(board.device_os).start
    with pytest.raises(NotRunning) as caught:
        board.flash_unchecked(image.data, start)
    assert board.name in str(caught.value)


@pytest.mark.board("photon", "boron")
def test_unplugged_half_way(board: Board, firmware: Firmware) -> None:
    if not board.power.available:
        pytest.skip(f"{board.name} has no power switch")
    image = firmware("probe", version=2).padded(80_000)
    pulled = threading.Event()

    def pull(done: int, total: int) -> None:
        if done * 4 >= total and not pulled.is_set():
            pulled.set()
            board.power.off()

    try:
        with pytest.raises(FlashError) as caught:
            board.flash(image, force=True, progress=pull)
    finally:
        board.power.on()
    assert pulled.is_set()
    assert board.name in str(caught.value)
    board.flash(image)
    assert board.probe.info().version == 2
