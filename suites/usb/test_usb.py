"""Boards on USB: found by port, told apart by id, followed through every re-enumeration."""

from __future__ import annotations

import pytest

from hil.device.platforms import UsbMode
from hil.testing import Board, Cloud


def test_usb_says_which_board_it_is(board: Board) -> None:
    usb = board.usb
    assert usb.platform == board.platform
    assert usb.mode is UsbMode.NORMAL
    assert usb.device_id == board.device_id
    assert usb.tty is not None


@pytest.mark.board("photon", "argon")
def test_a_board_is_followed_through_a_reset_by_its_port(board: Board, cloud: Cloud) -> None:
    boots = board.probe.info().boots
    before = board.usb
    board.reset()
    after = board.usb
    assert after.port == before.port
    assert after.address != before.address
    assert board.probe.info().boots == boots + 1
    cloud.wait_online(board, within=30)


def test_dfu_mode_shows_the_boards_memories_and_leaving_brings_it_back(board: Board, cloud: Cloud) -> None:
    dfu = board.enter_dfu()
    assert board.usb.mode is UsbMode.DFU
    assert board.usb.tty is None
    part = board.platform.user_part_for(board.device_os)
    assert len(dfu.upload(0, part.start, 4096)) == 4096
    board.leave_dfu()
    assert board.firmware() is not None
    cloud.wait_online(board, within=60)


def test_the_listening_console_tells_the_same_identity(board: Board, cloud: Cloud) -> None:
    console = board.enter_listening()
    assert console.identity().device_id == board.device_id
    assert console.version() == board.device_os
    board.leave_listening()
    cloud.wait_online(board, within=60)


def test_serial_carries_commands_as_well(board: Board) -> None:
    mark = board.serial.mark()
    board.serial.write(b'>{"c":"info"}\n')
    answer = board.serial.expect(r'<\{"_":0,"app":"(\w+)"', within=5, since=mark)
    assert answer[1] == "probe"


def test_6_17_the_serial_log_tells_what_the_board_does(board: Board) -> None:
    mark = board.serial.mark()
    board.probe.publish("garden/told", "42")
    board.serial.expect(r"^probe: publish garden/told\r?$", within=5, since=mark)


@pytest.mark.board("photon", "argon")
def test_6_17_a_reader_never_loses_the_boot_line(board: Board) -> None:
    boots, mark = board.probe.info().boots + 1, board.serial.mark()
    board.reset()
    board.serial.expect(rf"^probe: version \d+ build [0-9a-f]{{16}} boot {boots}\r?$", within=10, since=mark)
