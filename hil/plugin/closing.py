"""The last line of a run with results: how to read them."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what makes one page of the results that this run wrote."""
    results: str | None = getattr(config.option, "allure_report_dir", None)
    ran = any(terminalreporter.getreports(outcome) for outcome in ("passed", "failed", "error", "skipped"))
    if results and ran:
        terminalreporter.write_line(_line(Path(results).absolute(), config))


def _line(results: Path, config: pytest.Config) -> str:
    from hil.report.page import PAGE, RESULTS  # what imports allure waits until there is something to say
    from hil.rig.here import hil_command
    from hil.rig.project import find_project, shown

    here = config.invocation_params.dir
    said = f"results: {shown(results, here)}"
    if results.name != RESULTS:
        return said  # a folder of the caller's own, for tools of the caller's own
    folder = results.parent
    usual = folder == find_project(config.rootpath).reports
    named = "" if usual else f" --reports {shlex.quote(shown(folder, here))}"
    return f"{said}; for one page of them, {shown(folder / PAGE, here)}: {hil_command()} report{named}"
