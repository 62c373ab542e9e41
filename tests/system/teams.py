"""A team's computer: an environment with the wheel of hil and what it says it needs, and nothing of this checkout."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
PYTEST = """#!{python}
import sys
import pytest
sys.exit(pytest.main())
"""
# Particle's compiler, as far as a cloud without a compiler can: the image that the rack has built of the twin.
PARTICLE = """#!/bin/sh -e
[ "$1 $4 $6" = "compile --target --saveTo" ] && [ -f "$3/src/$(basename "$3").cpp" ]
cp ".hil/images/$(basename "$(dirname "$7")")/$2.bin" "$7"
"""


@dataclass(frozen=True, slots=True)
class Team:
    """``root`` is the team's repository, ``programs`` the folder of its commands."""

    root: Path
    programs: Path

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run lines of shell in the repository, as somebody who has never seen this checkout."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("HIL_", "PYTEST", "PYTHON", "VIRTUAL_ENV"))
        }
        path = os.pathsep.join([str(self.programs), os.environ["PATH"]])
        return subprocess.run(
            ["sh", "-ec", script],
            cwd=self.root,
            env={**kept, "PATH": path},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


def new_team(place: Path, wheel: Path) -> Team:
    """An empty repository below ``place``, and an environment with ``wheel`` beside it."""
    environment, root = place / "environment", place / "team"
    root.mkdir()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True, timeout=60)
    python = environment / "bin/python"
    install = [*PIP, "--python", str(python), "install", "--no-index", "--no-deps", str(wheel)]
    subprocess.run(install, check=True, timeout=120)
    (packages,) = environment.glob("lib/python*/site-packages")
    for entry in sorted(_needed_entries(packages)):
        (packages / entry.name).symlink_to(entry)
    for name, text in (("pytest", PYTEST.format(python=python)), ("particle", PARTICLE)):
        (environment / "bin" / name).write_text(text)
        (environment / "bin" / name).chmod(0o755)
    return Team(root, environment / "bin")


def _needed_entries(packages: Path) -> set[Path]:
    """Files and folders of all distributions that the installed hil needs, and that these need in turn."""
    (hil,) = metadata.distributions(name="hil", path=[str(packages)])
    ahead, seen, entries = [hil], {"hil"}, set[Path]()
    while ahead:
        for requirement in ahead.pop().requires or []:
            name = re.split(r"[^A-Za-z0-9._-]", requirement)[0].lower().replace("_", "-")
            if "extra ==" in requirement or name in seen:
                continue
            seen.add(name)
            try:
                found = metadata.distribution(name)
            except metadata.PackageNotFoundError:
                continue  # for another Python or another system
            ahead.append(found)
            tops = {file.parts[0] for file in found.files or []} - {"..", "__pycache__"}
            entries |= {Path(str(found.locate_file(top))) for top in tops}
    return entries
