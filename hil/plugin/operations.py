"""``operations``: the Data Operations of this test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hil.plugin import exhibits
from hil.report.evidence import Evidence

if TYPE_CHECKING:
    from hil.cloud.sync.logs import Spending
    from hil.rig.cloud_board import CloudBoard
    from hil.rig.live import Rig


@pytest.fixture
def operations(rig: Rig, board: CloudBoard, evidence: Evidence) -> Spending:
    """What this test costs, counted from here on."""
    del board  # made ready first: what that costs is not this test's
    operations = rig.cloud.operations.from_here()
    evidence.add("operations", "txt", lambda: exhibits.operations_table(operations, rig))
    return operations
