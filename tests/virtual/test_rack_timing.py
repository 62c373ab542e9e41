"""``hil rack run`` takes a real kernel's time unless told otherwise (issue 6, point 13, row 6)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from hil.cli.rack import command

ROOT = Path(__file__).resolve().parents[2]
HIL = [sys.executable, "-c", "from hil.cli.rack import command; command()"]
# Prints whether the serial port was ever missing when the switch had answered; several tries, for a machine may stall.
REPLUG = """
import os
import pyudev
from hil.virtual.launch.powerstrip import switch

link = "/dev/serial/by-path/pci-0000:00:14.0-usb-0:3:1.0"
missing = False
for _ in range(5):
    monitor = pyudev.Monitor.from_netlink(pyudev.Context())
    monitor.start()
    switch("off", "1-3")
    switch("on", "1-3")
    missing = missing or not os.path.exists(link)
    while (event := monitor.poll(10)) is not None and (event.action, event.sys_name) != ("bind", "1-3"):
        pass
    assert event is not None and os.path.exists(link)
print(missing)
"""


@pytest.mark.parametrize(("options", "missing"), [((), "True"), (("--fast",), "False")])
def test_a_board_that_is_plugged_in_is_not_there_at_once(
    tmp_path: Path, options: tuple[str, ...], missing: str
) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "HIL_RACK"}
    rack = ["run", *options, "--rig", str(ROOT / "rigs/virtual.toml"), "--state", str(tmp_path)]
    result = subprocess.run(
        [*HIL, *rack, "--", sys.executable, "-c", REPLUG],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert (result.returncode, result.stdout.split()) == (0, [missing]), result.stderr


def test_help_says_what_is_lost_with_fast() -> None:
    said = " ".join(CliRunner().invoke(command, ["run", "--help"]).output.split())
    assert "Hides the races" in said
    assert "0.5 s to a serial port" in said
