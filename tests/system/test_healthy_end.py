"""Boards after a run: whatever its last test wrote, each of them runs a sound application again."""

from __future__ import annotations

import re
from pathlib import Path

from tests.system import racks

# The first file leaves an application behind that no board starts; the second looks, and flashes nothing.
SUITES = {
    "test_ruin.py": """
import pytest
from hil.errors import NotRunning

def test_a_corrupt_application(board, firmware):
    image = firmware("probe", 1)
    broken = bytearray(image.data)
    broken[len(broken) // 2] ^= 0xFF
    with pytest.raises(NotRunning):
        board.flash_unchecked(bytes(broken), image.module.start)
    assert board.application.healthy() is False
""",
    "test_look.py": """
import pytest

@pytest.mark.firmware(None)
def test_what_is_there(board):
    assert board.application.healthy() is True
""",
}


def test_a_run_ends_with_sound_applications(tmp_path: Path) -> None:
    site = racks.new_site(tmp_path)
    for name, text in SUITES.items():
        (tmp_path / name).write_text(text)
    boards = ["--board", "boron", "--board", "photon", "--app", "probe@1"]
    ruined = racks.run(site.suites(str(tmp_path / "test_ruin.py"), *boards))
    assert ruined.returncode == 0, ruined.stdout + ruined.stderr
    looked = racks.run(site.suites(str(tmp_path / "test_look.py"), *boards))
    assert looked.returncode == 0, looked.stdout + looked.stderr
    assert re.findall(r"^(\S+-1) .* (\d+)$", looked.stdout.partition("= rack =")[2], re.MULTILINE) == [
        ("photon-1", "0"),
        ("boron-1", "0"),
    ]
