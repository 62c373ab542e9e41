"""``bench``: rig, boards, cloud and network service of this run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from hil.clock.client import clock_of_run
from hil.errors import HilError
from hil.plugin.reporting import account
from hil.plugin.selection import rig_of

if TYPE_CHECKING:
    from hil.rig.live import Bench


@pytest.fixture(scope="session")
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """The bench, its boards made ready side by side for the tests that were selected."""
    from hil.rig.live import Bench  # heavy imports only when a test needs a board

    rig = rig_of(request.config)
    try:
        state = request.config.getoption("--cloud-state")
        with clock_of_run("pytest") as clock, Bench(rig, state, clock) as bench:
            bench.prepare(_platforms(request.session.items))
            yield bench
            account(request.config, bench)
    except HilError as error:
        pytest.exit(str(error), returncode=3)


def _platforms(items: list[pytest.Item]) -> list[str]:
    """Platforms that the selected tests ask for, in order of first use."""
    found: dict[str, None] = {}
    for item in items:
        callspec = getattr(item, "callspec", None)
        if callspec is not None and isinstance(callspec.params.get("board"), str):
            found[callspec.params["board"]] = None
    return [name for name in found if name != "none"]
