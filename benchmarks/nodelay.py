"""What TCP_NODELAY and quick acknowledgement are worth: a request on a kept-alive connection, a call to a TCP board.

Medians of wall-clock time in one process, with and without the socket options. The board has Nagle's algorithm
on, as real ones do. Goals: without them at least 8 times as long.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from statistics import median
from unittest import mock

from benchmarks.table import Table, options, verdict
from hil.cloud.gateways import accepting
from hil.cloud.gateways.tcp import TcpLink
from tests.cloud_http.live import DEVICE_ID, Live, live_cloud, scripted_photon

GOAL = 8.0


def without_nodelay() -> AbstractContextManager[object]:
    """As it was: the system gathers small messages."""
    return mock.patch.object(accepting, "hurry")


def without_quickack() -> AbstractContextManager[object]:
    """As it was: the system acknowledges when it likes."""
    return mock.patch.object(TcpLink, "acknowledge")


SETTINGS: dict[str, Sequence[Callable[[], AbstractContextManager[object]]]] = {
    "neither": (without_nodelay, without_quickack),
    "nodelay": (without_quickack,),
    "quickack": (without_nodelay,),
    "both": (),
}


def timed(task: Callable[[], object], rounds: int) -> float:
    """The median of ``rounds``, in ms."""
    spent = []
    for _ in range(rounds):
        began = time.perf_counter()
        task()
        spent.append((time.perf_counter() - began) * 1000)
    return median(spent)


def measured(live: Live, rounds: int) -> tuple[float, float]:
    """Milliseconds for a request, and for a call to a board."""
    client = live.client()
    request = timed(lambda: client.get("/v1/user").raise_for_status(), rounds)
    call = timed(lambda: live.run(live.cloud.call(DEVICE_ID, "led", "on")), rounds)
    return request, call


def run(rounds: int) -> tuple[Table, bool]:
    """Measure all settings. Returns the table, and whether the goals are met."""
    table = Table("Milliseconds, median", ("socket options", "kept-alive request", "call to a TCP board"))
    results = {}
    for name, changes in SETTINGS.items():
        with contextlib.ExitStack() as stack:
            for change in changes:
                stack.enter_context(change())
            live = stack.enter_context(live_cloud())
            stack.enter_context(scripted_photon(live, nodelay=False))
            results[name] = measured(live, rounds)
        table.add(name, *(f"{figure:.1f}" for figure in results[name]))
    ratios = [before / after for before, after in zip(results["neither"], results["both"], strict=True)]
    table.add("ratio", *(f"{ratio:.0f}x" for ratio in ratios))
    met = min(ratios) >= GOAL
    table.note = f"at least {GOAL:g} times as fast with both: {verdict(met)}"
    return table, met


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; 1 when a goal is missed."""
    table, met = run(options(__doc__, argv, rounds=40)["rounds"])
    print(table)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
