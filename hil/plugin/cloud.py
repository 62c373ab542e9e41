"""``cloud``: the Device Cloud of this run, looking at this test's events only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from hil.cloud.sync.facade import DeviceCloud
    from hil.rig.cloud_board import CloudBoard
    from hil.rig.live import Rig


@pytest.fixture
def cloud(rig: Rig, board: CloudBoard) -> DeviceCloud:
    """The cloud, with event waits that look back to the start of this test."""
    del board  # made ready first: what it publishes on its way is not this test's
    cloud = rig.cloud
    cloud.events.begin()
    return cloud
