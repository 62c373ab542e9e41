"""``board`` and ``peer``: boards that are healthy, run the probe and are online. ``firmware``: images for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

import pytest

from hil.errors import HilError, RigError
from hil.report.allure_results import label_board, name_peer
from hil.report.evidence import Evidence

if TYPE_CHECKING:
    from hil.rig.cloud_board import CloudBoard
    from hil.rig.images import Image
    from hil.rig.live import Bench

EVIDENCE_KEY = pytest.StashKey[Evidence]()
BOARDS_KEY = pytest.StashKey["list[CloudBoard]"]()


@pytest.fixture
def evidence(request: pytest.FixtureRequest) -> Evidence:
    """Sources of evidence for this test; add your own."""
    evidence: Evidence = request.node.stash.setdefault(EVIDENCE_KEY, Evidence())
    return evidence


@pytest.fixture
def board(request: pytest.FixtureRequest, bench: Bench, evidence: Evidence) -> Iterator[CloudBoard]:
    """A board of the item's platform: healthy, running what marker ``firmware`` says, online."""
    marker = request.node.get_closest_marker("firmware")
    app, version = "probe", 1
    if marker is not None:
        app, version = marker.args[0], marker.kwargs.get("version", 1)
    online = request.node.get_closest_marker("offline") is None
    label_board(bench.board(request.param).name, request.param)
    yield from _ready(request, bench, evidence, request.param, app, version, online)


@pytest.fixture
def peer(
    request: pytest.FixtureRequest, bench: Bench, board: CloudBoard, evidence: Evidence
) -> Iterator[CloudBoard]:
    """Another board of the rig, of another platform than ``board``, running the probe and online."""
    names = list(dict.fromkeys(slot.platform for slot in bench.rig.slots))
    names.remove(board.platform.name)
    if not names:
        pytest.skip(f"needs a second board; rig {bench.rig.name} has only {board.name}")
    others = [name for name in names if name in bench.boards] or names
    name_peer(bench.board(others[0]).name)
    yield from _ready(request, bench, evidence, others[0], "probe", 1, True)


class Firmware(Protocol):
    """Built images. Without ``platform`` for the board of the test."""

    def __call__(self, app: str, version: int = 1, platform: str | None = None) -> Image: ...


@pytest.fixture
def firmware(bench: Bench, board: CloudBoard) -> Firmware:
    """``firmware(app, version=1, platform=<the board's>)``: a built image."""

    def image(app: str, version: int = 1, platform: str | None = None) -> Image:
        return bench.image(app, version, platform or board.platform.name)

    return image


def _ready(
    request: pytest.FixtureRequest,
    bench: Bench,
    evidence: Evidence,
    platform: str,
    app: str,
    version: int,
    online: bool,
) -> Iterator[CloudBoard]:
    board = bench.board(platform)
    request.node.stash.setdefault(BOARDS_KEY, []).append(board)
    mark = board.serial.mark()
    evidence.add(f"serial log of {board.name}", "log", lambda: board.serial.text(mark))
    _make_ready(bench, board, bench.image(app, version, platform), online)
    if app == "probe":
        board.probe.begin()
    yield board


def _make_ready(bench: Bench, board: CloudBoard, image: Image, online: bool) -> None:
    """Make the board ready; one that fails as a piece of equipment gets a second chance from a reset.

    One that fails test after test is set aside, so that it costs its tests no more time.
    """
    bench.pool.check_not_quarantined(board)
    try:
        try:
            board.make_ready(image, online=online)
        except RigError:
            board.recover()
            board.make_ready(image, online=online)
    except HilError as error:
        bench.pool.report(board, rig_failure=error.what)
        raise
    bench.pool.report(board)
