"""``network``: the path between the board and the cloud. Everything done to it ends with the test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from hil.report.evidence import Evidence

if TYPE_CHECKING:
    from hil.netlab.scoped import BoardPath
    from hil.rig.cloud_board import CloudBoard
    from hil.rig.live import Rig


@pytest.fixture
def offline_for(rig: Rig) -> float:
    """Seconds to watch a board before it counts as kept away from the cloud; the rig file says."""
    return rig.file.timing.offline_for


@pytest.fixture
def network(rig: Rig, board: CloudBoard, evidence: Evidence) -> Iterator[BoardPath]:
    """A lease on the network, scoped to the board, with a capture for the case of failure."""
    from hil.netlab.scoped import BoardPath

    lease = rig.connect_network()
    if lease is None:
        pytest.skip(f"needs a network service; rig {rig.file.name} has none")
    with lease:
        lease.capture_start()
        evidence.add("packets", "pcap", lease.capture_stop)
        evidence.add("firewall counters", "txt", lambda: "\n".join(map(str, lease.counters())))
        yield BoardPath(lease, board.address)
