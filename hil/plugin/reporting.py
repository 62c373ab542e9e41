"""Results, evidence and summary: switched on once the collected tests ask for boards, whatever their folder is called.

A run without boards writes nothing and has none of this listening in.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from hil.plugin.parallel import in_worker
from hil.plugin.places import made_reports_of
from hil.plugin.selection import parameter_of
from hil.report.summary import BoardSummary, RunSummary

if TYPE_CHECKING:
    from hil.rig.cloud_board import CloudBoard
    from hil.rig.live import Rig

STARTED_KEY = pytest.StashKey[float]()
SUMMARY_KEY = pytest.StashKey[RunSummary]()


def pytest_configure(config: pytest.Config) -> None:
    """Note when the run began."""
    config.stash[STARTED_KEY] = time.monotonic()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begin to keep what a run about boards leaves behind."""
    config = session.config
    about_boards = any(parameter_of(item) is not None for item in session.items)
    if not about_boards or config.option.collectonly or in_worker(config):
        return
    from hil.plugin import evidence, results  # they import allure
    from hil.plugin.verdict import VERDICT_KEY, Verdict

    reports = made_reports_of(config)
    summary = config.stash[SUMMARY_KEY] = RunSummary()
    kept = results.keep(config, reports / "allure-results")
    config.pluginmanager.register(evidence, "hil-evidence")
    verdict = config.stash[VERDICT_KEY] = Verdict()
    config.pluginmanager.register(verdict, "hil-verdict")
    account = results.Account(summary, reports, kept, config.stash[STARTED_KEY])
    config.pluginmanager.register(account, "hil-account")


def account(config: pytest.Config, rig: Rig) -> None:
    """Write down what the boards did and what it cost, while the rig is still there."""
    summary = config.stash.get(SUMMARY_KEY, None)
    if summary is None:
        return  # somebody asked for the rig itself and for no board
    for board in rig.boards.values():
        entry = summary.boards.setdefault(board.name, _entry(board))
        entry.flashes = board.flashes
    summary.add_operations(rig.operations_spent())


def _entry(board: CloudBoard) -> BoardSummary:
    platform = board.platform
    return BoardSummary(
        board.name, platform.name, board.device_id, platform.transport.value, variant=board.slot.variant
    )
