"""Allure results, evidence of failures, the summary of the run."""

from __future__ import annotations

import platform as host
import time
from collections import Counter as Tally
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import pytest

from hil import __version__
from hil.observe import observing
from hil.plugin.boards import BOARDS_KEY, EVIDENCE_KEY
from hil.plugin.places import made_reports_of, reports_of
from hil.plugin.selection import RIG_KEY
from hil.report.categories import category_of
from hil.report.evidence import Exhibit
from hil.report.summary import BoardSummary, RunSummary
from hil.report.timeline import Timeline

if TYPE_CHECKING:
    from hil.rig.cloud_board import CloudBoard
    from hil.rig.live import Rig

SUMMARY_KEY = pytest.StashKey[RunSummary]()
STARTED_KEY = pytest.StashKey[float]()
TIMELINE_KEY = pytest.StashKey[Timeline]()
DECIDED_KEY = pytest.StashKey[bool]()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Point allure-pytest at the reports folder when suites run, unless the command line says otherwise."""
    config.stash[SUMMARY_KEY] = RunSummary()
    config.stash[STARTED_KEY] = time.monotonic()
    config.pluginmanager.register(Counter(config), "hil-summary")
    if _runs_suites(config) and getattr(config.option, "allure_report_dir", None) is None:
        config.option.allure_report_dir = str(made_reports_of(config) / "allure-results")
        config.option.clean_alluredir = True


def _runs_suites(config: pytest.Config) -> bool:
    return any("suites" in str(argument) for argument in config.args)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Listen to everything that is done for this test, its fixtures included."""
    from hil.report.allure_results import AllureSteps

    with observing(AllureSteps()), observing(Timeline()) as timeline:
        item.stash[TIMELINE_KEY] = timeline
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Attach what each source saw when a test failed, while the sources are still there."""
    report = yield
    evidence = item.stash.get(EVIDENCE_KEY, None)
    wanted = report.failed or (item.config.getoption("--keep") and call.when == "call")
    if wanted and call.when in ("setup", "call"):
        from hil.report.allure_results import attach

        attach([*(evidence.collect() if evidence is not None else ()), *_timeline(item)])
    _file(item, call, report)
    if call.when == "call" and item.stash.get(BOARDS_KEY, []):
        board = item.stash[BOARDS_KEY][0]
        report.user_properties.append(("board", board.name))
    return report


def _timeline(item: pytest.Item) -> Iterator[Exhibit]:
    timeline = item.stash.get(TIMELINE_KEY, None)
    if timeline is not None and timeline.entries:
        yield Exhibit("timeline", "txt", timeline.text().encode())


def _file(item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
    """File a failed test under its category. The first phase that did not pass decides, as it does for Allure."""
    if report.passed or item.stash.get(DECIDED_KEY, False):
        return
    item.stash[DECIDED_KEY] = True
    if report.failed:
        from hil.report.allure_results import file_under

        file_under(category_of(call.excinfo.value if call.excinfo is not None else None))


def account(config: pytest.Config, rig: Rig) -> None:
    """Write down what the boards did and what it cost, while the bench is still there."""
    summary = config.stash[SUMMARY_KEY]
    for board in rig.boards.values():
        entry = summary.boards.setdefault(board.name, _entry(board))
        entry.flashes = board.flashes
    summary.add_operations(rig.operations_spent())


def _entry(board: CloudBoard) -> BoardSummary:
    platform = board.platform
    return BoardSummary(
        board.name, platform.name, board.device_id, platform.transport.value, variant=board.slot.variant
    )


class Counter:
    """Counts outcomes as they are reported."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self.tests: Tally[str] = Tally()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a phase of a test, and the test for its board."""
        self._config.stash[SUMMARY_KEY].count(report.when, report.outcome)
        if report.when == "call":
            self.tests.update(str(value) for key, value in report.user_properties if key == "board")

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write ``summary.json`` and what Allure wants beside its results."""
        config = self._config
        summary = config.stash[SUMMARY_KEY]
        for name, entry in summary.boards.items():
            entry.tests = self.tests[name]
        summary.duration_s = time.monotonic() - config.stash[STARTED_KEY]
        if not (_runs_suites(config) or summary.boards) or session.config.option.collectonly:
            return
        reports = reports_of(config)
        summary.write(reports / "summary.json")
        from hil.report.allure_results import write_environment

        write_environment(reports / "allure-results", _environment(config))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """One line for each board."""
        summary = self._config.stash[SUMMARY_KEY]
        if summary.boards:
            terminalreporter.section("rack")
            for line in summary.lines():
                terminalreporter.write_line(line)


def _environment(config: pytest.Config) -> dict[str, str]:
    facts = {"hil": __version__, "python": host.python_version(), "host": f"{host.system()} {host.machine()}"}
    if RIG_KEY in config.stash:
        rig = config.stash[RIG_KEY]
        facts["rig"] = rig.name
        facts.update({f"device_os.{slot.name}": slot.device_os for slot in rig.slots})
        facts.update({f"variant.{slot.name}": slot.variant for slot in rig.slots if slot.variant})
    return facts
