"""Where a run keeps things: as the command line says, else below the root of the project."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from hil.plugin.selection import project_of


def reports_of(config: pytest.Config) -> Path:
    """The folder of ``summary.json`` and ``allure-results/``."""
    given: Path | None = config.getoption("--reports")
    return given or project_of(config).reports


def made_reports_of(config: pytest.Config) -> Path:
    """The same, made if need be: a run whose results cannot be kept is told so before its first test."""
    folder = reports_of(config)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise pytest.UsageError(
            f"cannot write reports to {folder} ({error.strerror}): name another folder with --reports"
        ) from error


def cloud_state_of(config: pytest.Config) -> Path:
    """Where the Device Cloud keeps its state and keys."""
    given: Path | None = config.getoption("--cloud-state")
    return given or project_of(config).state("cloud")
