"""One HTML page of a run's results, made by Allure's command line (Allure 3, a Node.js package)."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from hil.errors import HilError, UsageError
from hil.report.allure_results import AGAIN_VARIABLE, CONFIGURATION, HISTORY

RESULTS = "allure-results"
PAGE = "report.html"
PACKAGE = "allure@3.18.0"
_PROGRAM = Path("node_modules/.bin/allure")
# Beside the package in a checkout, where scripts/setup puts it.
CHECKOUT = Path(__file__).resolve().parents[2] / "scripts/report"
_QUIETLY = ("--loglevel=error", "--no-audit", "--no-fund", "--ignore-scripts")
_SAID = 500  # characters of what a program said, in an error


def find_allure(tools: Path) -> Path | None:
    """Allure's command line: the checkout's, what is installed in ``tools``, or one of version 3 on ``PATH``."""
    for folder in (CHECKOUT, tools):
        if (folder / _PROGRAM).exists():
            return folder / _PROGRAM
    on_path = shutil.which("allure")
    return Path(on_path) if on_path and _is_version_3(on_path) else None


def install(tools: Path, npm: str) -> Path:
    """Allure's command line, installed into ``tools`` by the program ``npm``. Raises ``HilError``."""
    try:
        tools.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HilError(f"cannot write {tools}", found=str(error.strerror)) from error
    _run([npm, "install", *_QUIETLY, "--prefix", str(tools), PACKAGE], f"npm cannot install {PACKAGE}")
    return tools / _PROGRAM


def check_results(reports: Path) -> None:
    """Raises ``UsageError`` when no run has left results in the folder ``reports``."""
    results = reports / RESULTS
    if not any(results.glob("*-result.json")):
        raise UsageError(
            f"there are no results of a run in {results}",
            hint="run tests first (hil rack run -- pytest suites), or say with --reports which folder they write to",
        )


def make_page(allure: Path, reports: Path) -> Path:
    """Make ``report.html`` in the folder ``reports`` of the results in it.

    Raises ``UsageError`` when there are none, ``HilError`` with what Allure said when it fails.
    """
    check_results(reports)
    settings = reports / CONFIGURATION
    config = ["--config", str(settings)] if settings.exists() else []
    try:
        with tempfile.TemporaryDirectory(dir=reports) as made:
            options = [*config, "--single-file", "--report-name", "hil", "--output", made]
            _run(
                [str(allure), "awesome", str(reports / RESULTS), *options],
                f"{allure} cannot make the report",
                {AGAIN_VARIABLE: "1"} if _in_history(reports) else {},
            )
            return Path(shutil.move(Path(made, "index.html"), reports / PAGE))
    except OSError as error:
        raise HilError(f"cannot write {reports / PAGE}", found=str(error)) from error


def _in_history(reports: Path) -> bool:
    """Whether the history has these results already: a page that is made twice is one run all the same."""
    history = reports / HISTORY
    return history.exists() and history.stat().st_mtime > max(
        path.stat().st_mtime for path in (reports / RESULTS).glob("*-result.json")
    )


def _is_version_3(program: str) -> bool:
    """Allure 2 has the same name, and other subcommands."""
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return False
    return said.strip().startswith("3.")


def _run(command: list[str], trouble: str, variables: Mapping[str, str] | None = None) -> None:
    environment = {**os.environ, **(variables or {})}
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=environment
        )
    except OSError as error:
        raise HilError(trouble, found=str(error)) from error
    if done.returncode != 0:
        said = f"{done.stderr}\n{done.stdout}".strip()
        raise HilError(
            trouble,
            found=said[:_SAID] or f"exit status {done.returncode}",
            hint=f"try it: {shlex.join(command)}",
        )
