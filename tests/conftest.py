"""Settings for all tests of the harness, and the wheel that a team installs."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).parents[1]
SOURCES = ("hil", "rigs", "firmware", "pyproject.toml", "setup.py", "README.md", "LICENSE")

# A loaded machine makes any example slow: no test may fail by the clock.
settings.register_profile("hil", deadline=None)
settings.load_profile("hil")

# nohup and a shell's & make a command deaf to these, and what the tests start inherits that.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of a copy: a build leaves a folder behind, and old files in it would get into the next wheel."""
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name)
        else:
            shutil.copy(source, copy / name)
    build = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", "wheel"]
    build += ["--no-build-isolation", "--no-deps", "--no-index", "-w", str(out), str(copy)]
    subprocess.run(build, check=True, timeout=120)
    (found,) = out.glob("*.whl")
    return found
