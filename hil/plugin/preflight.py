"""Before the first test: a run whose rig is not here ends with one message, and what earlier runs left stays."""

from __future__ import annotations

import pytest

from hil.errors import UsageError
from hil.plugin.parallel import in_worker
from hil.plugin.selection import NOWHERE, RIG_KEY, parameter_of

REFUSAL_KEY = pytest.StashKey[UsageError]()
CANNOT_RUN = 3  # exit status of a run that no test could begin in


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Look for the rig when a test that is left wants a board; without it run nothing."""
    wanted = RIG_KEY in config.stash and any(parameter_of(item) not in (None, NOWHERE) for item in items)
    if config.option.collectonly or in_worker(config) or not wanted:
        return
    from hil.rig.here import refuse_elsewhere

    try:
        command = ("pytest", *map(str, config.invocation_params.args))
        refuse_elsewhere(config.stash[RIG_KEY], command, config.getoption("--rig"))
    except UsageError as error:
        config.stash[REFUSAL_KEY] = error
        items.clear()


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Say why nothing runs."""
    refusal = session.config.stash.get(REFUSAL_KEY, None)
    if refusal is None:
        return None
    terminal: pytest.TerminalReporter | None = session.config.pluginmanager.get_plugin("terminalreporter")
    if terminal is not None:
        terminal.write_line(f"\n{refusal}\n", red=True)
    return True


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tell such a run from one that selected nothing."""
    if REFUSAL_KEY in session.config.stash:
        session.exitstatus = CANNOT_RUN
