"""What a run about boards leaves behind: Allure's results and ``summary.json``."""

from __future__ import annotations

import platform as host
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import allure_commons
import pytest

from hil import __version__
from hil.plugin.facts import BOARD
from hil.plugin.selection import RIG_KEY
from hil.report.allure_results import write_environment
from hil.report.summary import RunSummary

ALLURE = "allure_pytest"


def keep(config: pytest.Config, folder: Path) -> Path | None:
    """Let allure-pytest write its results, into ``folder`` unless the command line names another.

    allure-pytest decides when pytest starts, which is before anybody knows whether a test will ask for a board; this
    does late what it would have done then. Returns the folder, ``None`` for a run without allure-pytest.
    """
    if not config.pluginmanager.hasplugin(ALLURE):
        return None
    if config.option.allure_report_dir:
        return Path(config.option.allure_report_dir)
    from allure_commons.logger import AllureFileLogger
    from allure_pytest.listener import AllureListener

    config.option.allure_report_dir = str(folder)
    listener = AllureListener(config)
    config.pluginmanager.register(listener, "allure_listener")
    for plugin in (listener, AllureFileLogger(str(folder), clean=True)):
        allure_commons.plugin_manager.register(plugin)
        config.add_cleanup(_leaving(plugin))
    return folder


def _leaving(plugin: object) -> Callable[[], None]:
    def leave() -> None:
        allure_commons.plugin_manager.unregister(plugin)

    return leave


class Account:
    """Counts outcomes as they are reported, and writes the summary. ``started`` on the monotonic clock, s."""

    def __init__(self, summary: RunSummary, reports: Path, results: Path | None, started: float) -> None:
        self._summary = summary
        self._reports = reports
        self._results = results
        self._started = started
        self._tests: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a phase of a test, and the test for its board."""
        self._summary.count(report.when, report.outcome)
        if report.when == "call":
            self._tests.update(str(value) for key, value in report.user_properties if key == BOARD)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write ``summary.json`` and what Allure wants beside its results."""
        for name, entry in self._summary.boards.items():
            entry.tests = self._tests[name]
        self._summary.duration_s = time.monotonic() - self._started
        self._summary.write(self._reports / "summary.json")
        if self._results is not None:
            write_environment(self._results, _environment(session.config), _platforms(session.config))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """One line for each board."""
        if self._summary.boards:
            terminalreporter.section("rack")
            for line in self._summary.lines():
                terminalreporter.write_line(line)


def _platforms(config: pytest.Config) -> list[str]:
    return [slot.platform for slot in config.stash[RIG_KEY].slots] if RIG_KEY in config.stash else []


def _environment(config: pytest.Config) -> dict[str, str]:
    facts = {"hil": __version__, "python": host.python_version(), "host": f"{host.system()} {host.machine()}"}
    if RIG_KEY in config.stash:
        rig = config.stash[RIG_KEY]
        facts["rig"] = rig.name
        facts.update({f"device_os.{slot.name}": slot.device_os for slot in rig.slots})
        facts.update({f"variant.{slot.name}": slot.variant for slot in rig.slots if slot.variant})
    return facts
