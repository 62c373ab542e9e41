"""``board``, ``peer`` and ``boards``: healthy, running what the test wants, online. ``firmware``: images for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import pytest

from hil.plugin import exhibits
from hil.plugin.needs import Application
from hil.plugin.packets import capture
from hil.plugin.selection import candidates, companions, default_application, need
from hil.report.evidence import Evidence

if TYPE_CHECKING:
    from hil.cloud.sync.logs import Spending
    from hil.rig.cloud_board import CloudBoard
    from hil.rig.images import Image
    from hil.rig.live import Rig

EVIDENCE_KEY = pytest.StashKey[Evidence]()
BOARDS_KEY = pytest.StashKey["list[BoardOfTest]"]()


@dataclass(slots=True)
class BoardOfTest:
    """A board of a test, the ``firmware`` that was asked for, and what is ``spent`` since the board was ready."""

    board: CloudBoard
    firmware: str
    spent: Spending


@pytest.fixture
def evidence(request: pytest.FixtureRequest) -> Evidence:
    """Sources of evidence for this test; add your own."""
    evidence: Evidence = request.node.stash.setdefault(EVIDENCE_KEY, Evidence())
    return evidence


@pytest.fixture
def board(request: pytest.FixtureRequest, rig: Rig, evidence: Evidence) -> Iterator[CloudBoard]:
    """A board of the item's platform or slot: healthy, running what marker ``firmware`` says, online."""
    from hil.report.allure_results import label_board

    wanted = need(request.node)
    slots = candidates(request.config, request.param, wanted)
    (chosen,) = rig.take(slots)
    label_board(chosen.name, chosen.platform.name)
    capture(rig, evidence)
    with _ready(request, rig, evidence, chosen, wanted.application, wanted.online):
        yield chosen


@pytest.fixture
def boards(
    request: pytest.FixtureRequest, rig: Rig, board: CloudBoard, evidence: Evidence
) -> Iterator[list[CloudBoard]]:
    """As many boards of one platform as ``@pytest.mark.board(..., count=n)`` says; ``board`` is the first."""
    wanted = need(request.node)
    with ExitStack() as stack:
        others = _others(request, rig, board, wanted.count - 1) if wanted.count > 1 else []
        for other in others:
            stack.enter_context(_ready(request, rig, evidence, other, wanted.application, wanted.online))
        yield [board, *others]


@pytest.fixture
def peer(
    request: pytest.FixtureRequest, rig: Rig, board: CloudBoard, evidence: Evidence
) -> Iterator[CloudBoard]:
    """A second board, online: the second of ``boards``, else one of another platform, else one of the same."""
    wanted = need(request.node)
    if wanted.count > 1:
        yield request.getfixturevalue("boards")[1]
        return
    (other,) = _others(request, rig, board, 1)
    default = default_application(request.config) or wanted.application
    with _ready(request, rig, evidence, other, default, True):
        yield other


class Firmware(Protocol):
    """Built images. Without ``platform`` for the board of the test."""

    def __call__(self, app: str, version: int | str | None = None, platform: str | None = None) -> Image: ...


@pytest.fixture
def firmware(rig: Rig, board: CloudBoard) -> Firmware:
    """``firmware(app, version=None, platform=<the board's>)``: a built image; without a version the newest."""

    def image(app: str, version: int | str | None = None, platform: str | None = None) -> Image:
        return rig.image(app, version, platform or board.platform.name)

    return image


def image_for(rig: Rig, application: Application | None, platform: str) -> Image | None:
    """The image of ``application`` for ``platform``; ``None`` for whatever runs."""
    if application is None:
        return None
    return rig.image(application.name, application.version, platform)


def _others(request: pytest.FixtureRequest, rig: Rig, board: CloudBoard, count: int) -> list[CloudBoard]:
    """More boards beside ``board``; boards that this run leased already come first."""
    from hil.report.allure_results import name_peer

    slots = companions(request.config, board.platform.name, board.name, need(request.node))
    if len(slots) < count:
        pytest.skip(f"needs {count + 1} boards; rig {rig.file.name} has only {board.name}")
    leased = [slot for slot in slots if slot in rig.boards]
    found = rig.take(leased if len(leased) >= count else slots, count)
    for each in found:
        name_peer(each.name)
    return found


@contextmanager
def _ready(
    request: pytest.FixtureRequest,
    rig: Rig,
    evidence: Evidence,
    board: CloudBoard,
    wanted: Application | None,
    online: bool,
) -> Iterator[None]:
    from hil.rig.probe import PROBE  # loaded long since: there is a board

    mine = BoardOfTest(board, str(wanted or "whatever it runs"), rig.cloud.operations.from_here())
    request.node.stash.setdefault(BOARDS_KEY, []).append(mine)
    exhibits.of_board(evidence, rig.cloud, board)
    image = image_for(rig, wanted, board.platform.name)
    if image is not None:
        mine.firmware = image.name
    rig.make_ready(board, image, online=online)
    mine.spent = rig.cloud.operations.from_here()
    if image is not None and image.app == PROBE:
        board.probe.begin()
    try:
        yield
    finally:
        board.power.restore()  # a test that broke off leaves no board dark
