"""What a run does until it is killed, and the smoke run that follows: a test file of :mod:`benchmarks.kills`."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

from hil.rig.live import Rig
from hil.testing import Board, Cloud, Firmware

_LONGEST = 90.0  # seconds; whoever is to kill it came long before
_SIZE = 120_000  # bytes: an image that takes a moment to write


def _repeat(moment: str, act: Callable[[], object]) -> None:
    """Say ``AT moment`` and act, again and again."""
    ends = time.monotonic() + _LONGEST
    while time.monotonic() < ends:
        print(f"AT {moment}", flush=True)
        act()


def test_moment_run(board: Board, cloud: Cloud) -> None:
    def act() -> None:
        board.probe.publish("kills/run", "1")
        cloud.events.expect("kills/run", source=board, within=10)
        cloud.call(board, "probe_echo", "run")
        time.sleep(0.1)

    _repeat("run", act)


def test_moment_power(board: Board) -> None:
    _repeat("power", lambda: board.power_cycle(off_for=0.5))


def test_moment_flash(board: Board, firmware: Firmware) -> None:
    images = itertools.cycle([firmware("probe", version=version).padded(_SIZE) for version in (2, 1)])
    _repeat("flash", lambda: board.flash(next(images), force=True))


def test_moment_update(board: Board, cloud: Cloud, firmware: Firmware) -> None:
    images = itertools.cycle([firmware("probe", version=version).padded(_SIZE) for version in (2, 1)])

    def act() -> None:
        report = cloud.flash(board, next(images).data)
        assert report.ok, report.reason
        board.wait_ready()

    _repeat("update", act)


def test_smoke(board: Board, cloud: Cloud, rig: Rig, firmware: Firmware) -> None:
    """Found, flashed, online, one publish; and no slot of the rig is dark."""
    assert {usb.port for usb in rig.watcher.boards()} == {slot.port for slot in rig.file.slots}
    board.flash(firmware("probe", version=1), force=True)
    cloud.wait_online(board, within=30)
    board.probe.publish("kills/smoke", "alive")
    assert cloud.events.expect("kills/smoke", source=board, within=10).data == "alive"
