"""pytest-xdist: boards belong to one process, so a run in several says at once that this is not supported yet."""

from __future__ import annotations

import os

import pytest

from hil.plugin.selection import parameter_of, project_of

ENVIRONMENT = "HIL_RIG"
WORDS = "boards under pytest-xdist are not supported yet: run without -n (tests without boards: -n with -p no:hil)"


def pytest_configure(config: pytest.Config) -> None:
    """Refuse in the controller, where it is one line, a run that is about boards."""
    spread = config.getoption("numprocesses", None) or config.getoption("tx", None)
    if spread and not in_worker(config) and _about_boards(config):
        raise pytest.UsageError(f"hil: {WORDS}")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """End a test that asks for a board in a worker, before the rig is opened: it would be everybody's."""
    if in_worker(item.config) and parameter_of(item) is not None:
        pytest.fail(WORDS, pytrace=False)


def in_worker(config: pytest.Config) -> bool:
    """Whether this process is a worker of pytest-xdist."""
    return hasattr(config, "workerinput")


def _about_boards(config: pytest.Config) -> bool:
    """Whether somebody named a rig or a board, on the command line, in the environment or in the project."""
    named = any(config.getoption(option) for option in ("--rig", "--board", "--each-board"))
    return named or ENVIRONMENT in os.environ or project_of(config).rig is not None
