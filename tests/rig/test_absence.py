"""Why a board stays away, told from what was seen: each cause with what to do about it."""

from __future__ import annotations

import pytest

from hil.device.requests import CloudState
from hil.rig.absence import Absence, explain
from hil.rig.modes import Mode


def absence(mode: Mode | None, status: CloudState | None) -> Absence:
    serial = [f"line {number}" for number in range(1, 21)]
    return Absence(
        "argon-1 (argon at USB port 1-3)", "greenhouse@2", "198.18.0.2", 60.0, mode, status, serial, []
    )


@pytest.mark.parametrize(
    ("mode", "status", "seen", "advice"),
    [
        (Mode.NORMAL, CloudState.DISCONNECTED, "says: disconnected", "SYSTEM_MODE.MANUAL"),
        (Mode.NORMAL, CloudState.CONNECTING, "says: connecting", "is the path to the cloud open"),
        (Mode.NORMAL, CloudState.CONNECTED, "says: connected", "not to this cloud"),
        (Mode.LISTENING, CloudState.DISCONNECTED, "is in listening mode", "bring it back to normal mode"),
        (None, None, "does not say its mode", "is the board running at all"),
    ],
)
def test_an_absence_names_board_and_application_what_was_seen_and_what_to_do(
    mode: Mode | None, status: CloudState | None, seen: str, advice: str
) -> None:
    error = explain(absence(mode, status))
    assert error.what == "argon-1 (argon at USB port 1-3) does not come online with greenhouse@2"
    assert "a session at 198.18.0.2 within 60 s" in error.expected
    assert seen in error.found
    assert advice.replace(".", "(") in error.hint


def test_the_ends_of_both_logs_are_shown() -> None:
    found = explain(absence(Mode.NORMAL, CloudState.CONNECTING)).found
    assert "line 20" in found
    assert "line 11" in found
    assert "line 10" not in found
    assert "cloud log: nothing since the restart" in found
