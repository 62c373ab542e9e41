"""``rig``: boards, cloud and network service of this run."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import pytest

from hil.errors import HilError
from hil.plugin.boards import image_for
from hil.plugin.places import cloud_state_of
from hil.plugin.reporting import account
from hil.plugin.selection import NOWHERE, candidates, need, parameter_of, rig_of

if TYPE_CHECKING:
    from hil.rig.images import Image
    from hil.rig.live import Rig


@pytest.fixture(scope="session")
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """The rig of this run, its boards made ready side by side for the tests that were selected.

    A rig that cannot be had ends the run (exit status 3); trouble at its end is an error of the last test.
    """
    from hil.clock.client import clock_of_run  # heavy imports only when a test needs a board
    from hil.rig.live import Rig

    config = request.config
    file = rig_of(config)
    with ExitStack() as stack:
        try:
            clock = stack.enter_context(clock_of_run("pytest"))
            images = config.getoption("--firmware")
            live = stack.enter_context(Rig(file, cloud_state_of(config), images, clock))
            live.prepare(_first_wishes(live, request.session.items))
        except HilError as error:
            with suppress(HilError):  # it follows from the first
                stack.close()
            pytest.exit(str(error), returncode=3)
        yield live
        troubles = [] if _interrupted(request.session) else live.leave_healthy()
        account(config, live)
        if troubles:
            raise troubles[0]


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, object, object]:
    """What is taken down only here is a run's that was interrupted: its trouble is a line.

    As an error it would leave out the summary, and with it what failed before.
    """
    try:
        return (yield)
    except* HilError as group:
        terminal: pytest.TerminalReporter | None = session.config.pluginmanager.get_plugin("terminalreporter")
        if terminal is not None:
            for error in _single(group):
                terminal.write_line(f"the rig did not end well: {error}")
    return None


def _single(group: BaseExceptionGroup[HilError]) -> Iterator[HilError]:
    for each in group.exceptions:
        if isinstance(each, BaseExceptionGroup):
            yield from _single(each)
        else:
            yield each


def _interrupted(session: pytest.Session) -> bool:
    """Whether somebody wants the run to end now: nothing is flashed then."""
    return session.exitstatus == pytest.ExitCode.INTERRUPTED


def _first_wishes(rig: Rig, items: list[pytest.Item]) -> dict[str, Image | None]:
    """For each slot that a selected test can run on, the image that the first such test wants."""
    wishes: dict[str, Image | None] = {}
    for item in items:
        parameter = parameter_of(item)
        if parameter is None or parameter == NOWHERE:
            continue
        wanted = need(item)
        for slot in candidates(item.config, parameter, wanted):
            if slot not in wishes:
                try:
                    wishes[slot] = image_for(rig, wanted.application, _platform(rig, slot))
                except HilError:
                    continue  # the test that wants it says so
    return wishes


def _platform(rig: Rig, slot: str) -> str:
    return next(each.platform for each in rig.file.slots if each.name == slot)
