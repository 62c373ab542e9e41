"""``operations``: the Data Operations of this test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hil.report.evidence import Evidence

if TYPE_CHECKING:
    from hil.cloud.billing.operations import Operation
    from hil.cloud.state.names import DeviceRef
    from hil.rig.cloud_board import CloudBoard
    from hil.rig.live import Bench


class TestOperations:
    """The ledger from the start of the test on."""

    __test__ = False

    def __init__(self, bench: Bench) -> None:
        self._view = bench.cloud.operations
        self._mark = self._view.mark()

    def spent(self, device: DeviceRef | None = None) -> dict[str, int]:
        """Operations by kind, of one device or of all."""
        return self._view.spent(since=self._mark, device=device)

    def rows(self, device: DeviceRef | None = None) -> list[Operation]:
        """The rows of the ledger, each with its cause."""
        return self._view.rows(self._mark, device)


@pytest.fixture
def operations(bench: Bench, board: CloudBoard, evidence: Evidence) -> TestOperations:
    """What this test costs, counted from here on."""
    del board  # made ready first: what that costs is not this test's
    operations = TestOperations(bench)
    evidence.add("operations", "txt", lambda: "\n".join(map(str, operations.rows())))
    return operations
