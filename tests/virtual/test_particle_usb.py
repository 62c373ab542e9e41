"""Particle's own USB library, unmodified, at the four boards of a rack: modes, modules, DFU, an update, resets."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.system.racks import new_site

SCRIPT = Path(__file__).with_name("particle_usb.js")
LIBRARY = SCRIPT.parents[1] / "clients" / "node_modules" / "particle-usb"
RELEASES = {"photon": "2.3.1", "electron": "3.3.1", "argon": "6.2.0", "boron": "2.3.1"}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What the library saw of each board."""
    node = shutil.which("node")
    assert node, "node is needed: scripts/setup test installs it"
    assert LIBRARY.exists(), "particle-usb is missing: scripts/setup test installs it"
    site = new_site(tmp_path_factory.mktemp("particle-usb"))
    command = site.rack(node, str(SCRIPT), str(site.root / "images"))
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    boards = [json.loads(line) for line in run.stdout.splitlines()]
    assert sorted(board.get("type", str(board)) for board in boards) == sorted(RELEASES)
    return {board["type"]: board for board in boards}


@pytest.mark.parametrize("name", RELEASES)
def test_the_library_gets_along_with_a_board(said: dict[str, dict[str, Any]], name: str) -> None:
    board = said[name]
    assert board["errors"] == []
    assert (board["version"], board["dfuVersion"]) == (RELEASES[name], None)  # DFU mode stalls the question
    assert (board["listening"], board["normal"]) == ("LISTENING", "NORMAL")
    assert board["unhealthy"] == 0
    assert board["protection"]["protected"] is False
    assert board["record"] == 91
    assert [board[step] for step in ("afterDfu", "afterUpdate", "afterReset")] == [
        "blinker",
        "probe",
        "probe",
    ]
    assert board["forced"] == "error"  # the board is gone before the transfer ends


def test_what_the_boards_say_of_themselves(said: dict[str, dict[str, Any]]) -> None:
    assert said["argon"]["modules"] == [
        "BOOTLOADER 3100",
        "SYSTEM_PART 6200",
        "USER_PART 6",
        "NCP_FIRMWARE 5",
        "RADIO_STACK 202",
    ]
    assert said["photon"]["modules"][:3] == ["BOOTLOADER 1006", "SYSTEM_PART 2302", "SYSTEM_PART 2302"]
    assert said["argon"]["interfaces"] == ["wl3", "lo0"]
    assert said["boron"]["interfaces"] == ["pp3", "lo0"]
    assert said["argon"]["address"][0].startswith("10.77.")
    assert (said["photon"]["protocol"], said["electron"]["protocol"]) == ("TCP", "UDP")
    assert said["argon"]["protection"]["overridden"] is False  # said by string 0xFA, which older boards lack
    assert said["boron"]["protection"]["overridden"] is None
