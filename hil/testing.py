"""The types of what fixtures hand to a test, for its annotations: an editor then completes ``board.`` and ``cloud.``.

::

    from hil.testing import Board, Cloud

    def test_watering(board: Board, cloud: Cloud) -> None:
        assert cloud.call(board, "water", "3") == 3

A test runs the same without annotations.
"""

from __future__ import annotations

from hil.clock.client import ClockClient as Clock
from hil.cloud.state.events import CloudEvent as Event
from hil.cloud.sync.facade import DeviceCloud as Cloud
from hil.cloud.sync.logs import Spending as Operations
from hil.netlab.scoped import BoardPath as Network
from hil.netlab.scoped import Ports, ports_of
from hil.plugin.boards import Firmware
from hil.report.evidence import Evidence
from hil.rig.cloud_board import CloudBoard as Board
from hil.rig.images import Image

__all__ = [
    "Board",
    "Clock",
    "Cloud",
    "Event",
    "Evidence",
    "Firmware",
    "Image",
    "Network",
    "Operations",
    "Ports",
    "ports_of",
]
