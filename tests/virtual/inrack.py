"""Runs a client's script in a fresh rack of test devices."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]


def in_rack(directory: Path, script: str, name: str, *options: str, status: int = 0) -> Any:
    """What function ``name`` of ``script`` found; ``options`` are the rack's, ``status`` the exit status expected."""
    rack = [sys.executable, str(HERE / "devices.py"), *options, "--"]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    }
    environment.pop("HIL_RACK", None)
    result = subprocess.run(
        [*rack, sys.executable, str(HERE / f"{script}.py"), name],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert result.returncode == status, result.stderr
    return json.loads(result.stdout)
