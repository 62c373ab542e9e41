"""The packets of every test that has a board: captured always, kept for the report of those that fail."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from hil.errors import HilError

if TYPE_CHECKING:
    from hil.report.evidence import Evidence
    from hil.rig.live import Rig


def capture(rig: Rig, evidence: Evidence) -> None:
    """From now on what the boards' links carry is evidence, where there is a network service.

    Trouble with that is no trouble of the test.
    """
    with suppress(HilError):
        recorder = rig.recorder()
        if recorder is not None:
            began = recorder.begin()
            evidence.add("packets", "pcap", lambda: recorder.since(began))
