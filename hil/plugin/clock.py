"""``clock``: the clock of this run, which boards, cloud and network service follow. A test moves it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from hil.clock.client import ClockClient


@pytest.fixture
def clock() -> Iterator[ClockClient]:
    """``clock.advance(minutes=23)``: all that is due in that time has happened when it returns.

    Skips on real time: real boards cannot be moved, and a virtual rack wants to be told.
    """
    from hil.clock.client import ClockClient, socket_of_run  # only for a test that asks

    path = socket_of_run()
    if path is None:
        pytest.skip("needs a movable clock: hil rack run --clock")
    with ClockClient(path) as client:
        yield client
