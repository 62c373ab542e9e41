"""Updates over the air: the application changes, nothing is counted, a wrong file leaves the board as it was."""

from __future__ import annotations

import pytest

from hil.errors import WrongPlatform
from hil.testing import Board, Cloud, Firmware, Operations


@pytest.mark.firmware("probe", version=1)
def test_the_cloud_refuses_a_file_for_another_platform(
    board: Board, cloud: Cloud, firmware: Firmware
) -> None:
    other = "boron" if board.platform.name != "boron" else "argon"
    with pytest.raises(WrongPlatform):
        cloud.flash(board, firmware("probe", version=2, platform=other).data)


@pytest.mark.firmware("probe", version=1)
def test_the_board_refuses_a_file_for_another_platform_and_runs_on(
    board: Board, cloud: Cloud, operations: Operations, firmware: Firmware
) -> None:
    before = board.probe.info()
    other = "boron" if board.platform.name != "boron" else "argon"
    report = cloud.flash(board, firmware("probe", version=2, platform=other).data, unchecked=True)
    assert not report.ok
    assert board.probe.info().build == before.build
    board.restart()
    assert board.probe.info().build == before.build
    assert cloud.call(board, "probe_echo", "still here") == 10
    assert operations.spent() == {"function": 1}


@pytest.mark.firmware("probe", version=1)
def test_the_board_refuses_a_damaged_file_and_runs_on(board: Board, cloud: Cloud, firmware: Firmware) -> None:
    before = board.probe.info()
    data = bytearray(firmware("probe", version=2).data)
    data[len(data) // 2] ^= 0xFF
    report = cloud.flash(board, bytes(data), unchecked=True)
    assert not report.ok
    assert board.probe.info().build == before.build


@pytest.mark.firmware("probe", version=1)
def test_an_update_changes_version_and_hash_and_costs_nothing(
    board: Board, cloud: Cloud, operations: Operations, firmware: Firmware
) -> None:
    before = board.probe.info()
    update = firmware("probe", version=2)
    report = cloud.flash(board, update.data, within=60)
    assert report.ok, report.reason
    board.wait_ready()
    after = board.probe.info()
    assert (before.version, after.version) == (1, 2)
    assert after.build == update.build != before.build
    assert cloud.device(board).application_hash == update.module.sha256.hex()
    assert operations.spent() == {}
    story = [event.data.strip() for event in cloud.events.all("spark/flash/status", source=board)]
    assert story == ["started", "success"]


@pytest.mark.board("boron")
@pytest.mark.firmware("probe", version=1)
def test_another_application_takes_over(
    board: Board, cloud: Cloud, operations: Operations, firmware: Firmware
) -> None:
    report = cloud.flash(board, firmware("blinker").data, within=60)
    assert report.ok, report.reason
    board.wait_ready()
    cloud.wait_online(board, within=30)
    assert cloud.call(board, "blink", "3") == 3
    assert operations.spent() == {"function": 1}
