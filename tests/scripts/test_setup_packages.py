"""``scripts/setup`` and ``hil doctor`` speak of the same Debian packages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hil.rig import checks
from hil.rig.doctorline import Check, Verdict

SETUP = Path(__file__).parents[2] / "scripts" / "setup"
# The doctor runs in the virtual environment that python3-venv made.
NOT_FOR_THE_DOCTOR = {"python3-venv"}


def set_up() -> set[str]:
    found = re.findall(r"^ *packages\+?=\((.*)\)$", SETUP.read_text(), re.MULTILINE)
    assert len(found) == 2, "the lists of packages for hil and test were not found in scripts/setup"
    return {package for line in found for package in line.split()}


def test_the_doctor_misses_every_package_that_set_up_installs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "find_program", lambda _name: None)
    monkeypatch.setattr("usb.backend.libusb1.get_backend", lambda: None)
    found = [*checks.programs(), checks.libusb(), *checks.test_programs()]
    missed = {package for check in found for package in check.packages}
    assert missed == set_up() - NOT_FOR_THE_DOCTOR
    assert all(check.verdict is not Verdict.OK for check in found)


def test_the_line_of_the_doctor_works_where_no_package_list_was_ever_fetched() -> None:
    missing = [Check("x", Verdict.MISSING, "not found", "", ("usbutils", "g++"))]
    line = checks.apt_line(missing)
    assert line == "sudo apt-get update && sudo apt-get install -y --no-install-recommends g++ usbutils"
    assert checks.apt_line([]) == ""
