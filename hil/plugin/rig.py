"""``rig``: boards, cloud and network service of this run."""

from __future__ import annotations

from collections.abc import Iterator
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
    """The rig of this run, its boards made ready side by side for the tests that were selected."""
    from hil.rig.live import Rig  # heavy imports only when a test needs a board

    config = request.config
    file = rig_of(config)
    try:
        with Rig(file, cloud_state_of(config), config.getoption("--firmware")) as live:
            live.prepare(_first_wishes(live, request.session.items))
            yield live
            troubles = [] if _interrupted(request.session) else live.leave_healthy()
            account(config, live)
            if troubles:
                raise troubles[0]
    except HilError as error:
        pytest.exit(str(error), returncode=3)


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
