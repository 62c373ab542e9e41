"""What is attached to each test of a run about boards: its steps, and evidence when it failed."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest

from hil.observe import observing
from hil.plugin import facts
from hil.plugin.boards import EVIDENCE_KEY
from hil.plugin.verdict import VERDICT_KEY
from hil.report.allure_results import AllureSteps, attach, file_under
from hil.report.categories import category_of
from hil.report.evidence import Exhibit
from hil.report.timeline import Timeline

TIMELINE_KEY = pytest.StashKey[Timeline]()
DECIDED_KEY = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Listen to everything that is done for this test, its fixtures included."""
    with observing(AllureSteps()), observing(Timeline()) as timeline:
        item.stash[TIMELINE_KEY] = timeline
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Attach what each source saw when a test failed, while the sources are still there."""
    facts.of_test(item)
    report = yield
    evidence = item.stash.get(EVIDENCE_KEY, None)
    wanted = report.failed or (item.config.getoption("--keep") and call.when == "call")
    if wanted and call.when in ("setup", "call"):
        attach([*(evidence.collect() if evidence is not None else ()), *_timeline(item)])
    _file(item, call, report)
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
        category = category_of(call.excinfo.value if call.excinfo is not None else None)
        file_under(category)
        facts.add(item, facts.CATEGORY, str(category))
        item.config.stash[VERDICT_KEY].count(category, call.when)
