"""Runs inside a virtual rack, started by ``test_in_virtual_rack.py``: the rig room on whole boards.

Nothing here knows that the boards are virtual: udev, libusb, dfu-util and ttys are the system's own.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from hil.device import keys
from hil.device.platforms import UsbMode
from hil.errors import FlashError, ImageRefused
from hil.rig.board import Board
from hil.rig.images import FirmwareStore
from hil.rig.pool import BoardPool
from hil.rig.rigfile import RigFile, find_rig, load_rig
from hil.usb import requests
from hil.usb.discovery import UsbWatcher


@dataclass(frozen=True)
class ServerKeys:
    rsa_public_der: bytes
    ec_public_der: bytes


SERVER = ServerKeys(keys.public_der(keys.generate_server_rsa()), keys.public_der(keys.generate_server_ec()))
PLATFORMS = ("photon", "electron", "argon", "boron")


@pytest.fixture(scope="session")
def rig() -> RigFile:
    return load_rig(find_rig())


@pytest.fixture(scope="session")
def watcher() -> Iterator[UsbWatcher]:
    with UsbWatcher() as made:
        yield made


@pytest.fixture(scope="session")
def pool(rig: RigFile, watcher: UsbWatcher) -> Iterator[BoardPool]:
    made = BoardPool(rig, watcher)
    yield made
    made.close()


@pytest.fixture(scope="session")
def images(rig: RigFile) -> FirmwareStore:
    return FirmwareStore(rig.firmware.directory)


@pytest.fixture(params=PLATFORMS)
def board(request: pytest.FixtureRequest, pool: BoardPool) -> Iterator[Board]:
    with pool.lease(request.param) as leased:
        yield leased


@pytest.fixture
def argon(pool: BoardPool) -> Iterator[Board]:
    with pool.lease("argon") as leased:
        yield leased


def test_keys_and_address_are_written_once_and_stay(board: Board) -> None:
    first = board.provision(SERVER, "198.18.0.2")
    assert "server record" in first.written
    assert board.provision(SERVER, "198.18.0.2").written == ()
    keys.load_public(first.public_key)


def test_the_probe_is_flashed_once_and_answers(board: Board, images: FirmwareStore) -> None:
    image = images.image("probe", "1", board.platform)
    board.flash(image, force=True)
    running = board.firmware()
    assert running is not None
    assert (running.app, running.build, running.device_os) == ("probe", image.build, board.slot.device_os)
    assert not board.flash(image).written


def test_serial_output_is_kept_across_a_reset(board: Board, images: FirmwareStore) -> None:
    board.flash(images.image("probe", "1", board.platform))
    boots = board.probe.info().boots
    board.probe.reset()
    assert board.probe.info().boots == boots + 1
    mark = board.serial.mark()
    board.serial.wait_attached(5)
    board.serial.write(b'>{"c":"info"}\n')
    assert "probe" in board.serial.expect(r"^<(\{.*\})", 5, since=mark)[1]


def test_the_console_names_the_board(board: Board) -> None:
    console = board.enter_listening()
    assert console.identity().device_id == board.slot.device_id
    assert console.version() == board.slot.device_os
    assert console.describe()["p"] == board.platform.id
    board.leave_listening()
    assert not board.is_listening()


def test_safe_mode_runs_no_application_and_a_reset_ends_it(board: Board, images: FirmwareStore) -> None:
    board.flash(images.image("probe", "1", board.platform))
    board.enter_safe_mode()
    assert board.firmware() is None
    board.reset_hard()
    assert board.firmware() is not None


def test_dfu_by_request_as_well_as_by_touch(argon: Board, watcher: UsbWatcher) -> None:
    requests.enter_dfu(argon.control())
    watcher.wait(argon.port, UsbMode.DFU, 10)
    argon.leave_dfu()
    assert argon.usb.mode is UsbMode.NORMAL


def test_a_flash_that_breaks_off_is_named_and_the_next_one_recovers(
    argon: Board, images: FirmwareStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = images.image("probe", "1", argon.platform)
    real = subprocess.Popen
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        started.append(real(*arguments, **options))
        return started[-1]

    def kill(done: int, total: int) -> None:
        assert done <= total
        started[-1].kill()

    for _ in range(5):
        with monkeypatch.context() as patch:
            patch.setattr("hil.usb.dfu.subprocess.Popen", start)
            with pytest.raises(FlashError, match=r"(?s)argon-1 \(argon at USB port 1-3\).*signal 9"):
                argon.flash(image, force=True, progress=kill)
        assert argon.usb.mode is UsbMode.DFU
        assert argon.flash(image).written
        assert argon.firmware() is not None


def test_6_15_a_board_is_flashed_right_after_its_power_came_on(argon: Board, images: FirmwareStore) -> None:
    """Issue 6, points 15 c and 19: the switch says yes before the kernel has enumerated anything."""
    image = images.image("probe", "1", argon.platform)
    for _ in range(2):
        argon.power.off()
        assert not argon.present, "USB has noticed: nobody takes the board that was for the one that comes"
        argon.power.on()
        assert argon.flash(image, force=True).written


def test_bad_images_are_refused_before_the_board_is_touched(argon: Board, images: FirmwareStore) -> None:
    good = images.image("probe", "1", argon.platform)
    before = argon.usb.address
    with pytest.raises(ImageRefused, match="CRC"):
        argon.flash(good.data[:-1] + bytes([good.data[-1] ^ 1]))
    with pytest.raises(ImageRefused, match="another platform"):
        argon.flash(images.image("probe", "1", load_rig(find_rig()).slots[3].board_platform))
    assert argon.usb.address == before


def test_all_boards_side_by_side(pool: BoardPool, images: FirmwareStore) -> None:
    leased = [pool.acquire(platform) for platform in PLATFORMS]
    barrier = threading.Barrier(len(leased))

    def flash(board: Board) -> bool:
        barrier.wait(30)
        return board.flash(images.image("probe", "1", board.platform), force=True).written

    try:
        with ThreadPoolExecutor(len(leased)) as workers:
            assert list(workers.map(flash, leased)) == [True] * len(leased)
    finally:
        for each in leased:
            pool.release(each)
