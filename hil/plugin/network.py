"""``network``: the path between the board and the cloud. Everything done to it ends with the test."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from hil.errors import HilError, NetworkError
from hil.report.evidence import Evidence

if TYPE_CHECKING:
    from hil.netlab.client import Network
    from hil.netlab.scoped import BoardPath
    from hil.rig.cloud_board import CloudBoard
    from hil.rig.live import Rig

PATH_KEY = pytest.StashKey["tuple[Rig, Network]"]()


@pytest.fixture
def offline_for(rig: Rig) -> float:
    """Seconds to watch a board before it counts as kept away from the cloud; the rig file says."""
    return rig.file.timing.offline_for


@pytest.fixture
def network(
    request: pytest.FixtureRequest, rig: Rig, board: CloudBoard, evidence: Evidence
) -> Iterator[BoardPath]:
    """A lease on the network, scoped to the board."""
    from hil.netlab.scoped import BoardPath

    lease = rig.connect_network()
    if lease is None:
        pytest.skip(f"needs a network service; rig {rig.file.name} has none")
    with lease:
        request.node.stash[PATH_KEY] = rig, lease
        evidence.add("firewall counters", "txt", lambda: "\n".join(_counters(rig, lease)))
        yield BoardPath(lease, board.address)
        _leave_nothing_in_flight(rig, lease)


def _leave_nothing_in_flight(rig: Rig, lease: Network) -> None:
    """Open the path, and have nothing arrive that it stopped: it would come in a later test, and on its bill."""
    with suppress(NetworkError):  # the service is gone, and the path with it
        stopped = {row["board"] for row in lease.counters() if row["dropped"]}
        lease.clear()
        for board in rig.boards.values():
            if stopped and board.address in (None, *stopped):
                board.leave_nothing_in_flight()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Let what fails behind a path that stopped packets say so: it is the first thing to know."""
    try:
        return (yield)
    except (AssertionError, HilError) as error:
        stopped = _stopped(item)
        if stopped:
            error.args = (
                f"{error}\nthe network rules of this test stopped packets: {stopped}",
                *error.args[1:],
            )
        raise


def _stopped(item: pytest.Item) -> str:
    path = item.stash.get(PATH_KEY, None)
    if path is None:
        return ""
    from hil.netlab.words import stopped_in_words

    rig, lease = path
    try:
        return stopped_in_words(lease.counters(), rig.file.cloud.host, _ports(rig))
    except NetworkError:
        return ""  # the service is gone, and that is another story


def _counters(rig: Rig, lease: Network) -> list[str]:
    from hil.netlab.words import counters_in_words

    return counters_in_words(lease.counters(), rig.file.cloud.host, _ports(rig)) or ["no packets at all"]


def _ports(rig: Rig) -> tuple[int, ...]:
    return (rig.file.cloud.tcp_port, rig.file.cloud.udp_port)
