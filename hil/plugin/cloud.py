"""``cloud``: the Device Cloud of this run, looking at this test's events only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hil.report.evidence import Evidence

if TYPE_CHECKING:
    from hil.cloud.sync.facade import DeviceCloud
    from hil.rig.cloud_board import CloudBoard
    from hil.rig.live import Rig


@pytest.fixture
def cloud(rig: Rig, board: CloudBoard, evidence: Evidence) -> DeviceCloud:
    """The cloud, with event waits that look back to the start of this test."""
    cloud = rig.cloud
    mark = cloud.events.begin()
    evidence.add(f"cloud log of {board.name}", "log", lambda: "\n".join(cloud.device_log(board, since=mark)))
    return cloud
