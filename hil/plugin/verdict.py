"""How a run about boards ends: the product failed, the rig could not run tests, or a test was asked for wrongly.

=====  ====================================================================================
exit   what happened
=====  ====================================================================================
1      a test failed: an assertion did not hold, a call of the cloud or the test's own code failed
3      no test failed, but the rig, the network path or the harness could not run some
4      nothing but misuse: a wrong marker, rig file or argument
=====  ====================================================================================
"""

from __future__ import annotations

from collections import Counter
from enum import Enum
from typing import Literal

import pytest

from hil.errors import Category

VERDICT_KEY = pytest.StashKey["Verdict"]()
Phase = Literal["collect", "setup", "call", "teardown"]

_NEVER_THE_PRODUCTS = {Category.RIG, Category.NETWORK, Category.HARNESS}
_OF_THE_CLOUD = {Category.CLOUD, Category.WIRE}


class Blame(Enum):
    """Whose failed test it was. The value is the exit status of a run with no other."""

    PRODUCT = 1
    RIG = 3
    MISUSE = 4


def blame(category: Category, phase: Phase) -> Blame:
    """Who failed a test whose ``phase`` ended with an error of ``category``.

    An error of the cloud in a test itself (the board does not answer a call) is what such tests are about; while a
    board is made ready it is the rig's.
    """
    if category is Category.USAGE:
        return Blame.MISUSE
    if category in _NEVER_THE_PRODUCTS or (category in _OF_THE_CLOUD and phase != "call"):
        return Blame.RIG
    return Blame.PRODUCT


class Verdict:
    """Counts the tests that did not pass by whose trouble they are."""

    def __init__(self) -> None:
        self._tests: Counter[Blame] = Counter()

    def count(self, category: Category, phase: Phase) -> None:
        """A test ended with an error of ``category``."""
        self._tests[blame(category, phase)] += 1

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Let the exit status tell; one that says more than that tests failed stays."""
        if session.exitstatus == pytest.ExitCode.TESTS_FAILED and self._tests:
            session.exitstatus = min(each.value for each in self._tests)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say both when product and rig were at fault, and the rig's share when it was only that."""
        line = self.line()
        if line:
            terminalreporter.write_line(line)

    def line(self) -> str:
        """One line on who was at fault; empty when it was the product alone, which pytest has said."""
        rig, misuse, product = (self._tests[each] for each in (Blame.RIG, Blame.MISUSE, Blame.PRODUCT))
        said = [f"{_tests(product)} failed"] if product else []
        said += [f"the rig could not run {_tests(rig)}"] if rig else []
        said += [f"{_tests(misuse)} {'was' if misuse == 1 else 'were'} asked for wrongly"] if misuse else []
        return "" if not rig and not misuse else f"verdict: {'; '.join(said)}"


def _tests(count: int) -> str:
    return f"{count} test" if count == 1 else f"{count} tests"
