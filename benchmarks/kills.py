"""Random kills of whatever takes part in a run, each followed by a smoke run of one board.

Goal (issue 6): 1,000 kills, all runs afterwards pass without a human, no slot stays dark, nothing is left in /tmp.
Killed are pytest (in a rack of its own, and in one that stays), the launcher, the rack, its watchdog and a cloud, at
random in a run, a power cycle, a flash over USB and an update over the air; by SIGKILL mostly. Each smoke run has the
board found, flashed, online and one publish; after every 100th kill all suites run on all boards. What has been done
is kept below ``--state``: the next start goes on there, also after Ctrl-C or SIGKILL; output of failures is beside it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.kill_plan import plan
from benchmarks.kill_scene import Bench
from benchmarks.kill_tally import Progress, tally
from benchmarks.table import verdict

#: It takes hours: only when it is asked for by name.
ON_REQUEST = True


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 1 when anything failed, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--kills", type=int, default=1000, help="how many there are to be in all; default: 1000"
    )
    parser.add_argument("--seed", type=int, default=1, help="which kills; default: 1")
    parser.add_argument(
        "--full-every", type=int, default=100, help="kills between two full runs; 0: none; default: 100"
    )
    parser.add_argument("--state", type=Path, default=Path(".hil/kills"), help="default: .hil/kills")
    asked = parser.parse_args(argv)
    bench = Bench(asked.state.absolute(), asked.seed)
    progress = Progress(asked.state / "progress.jsonl", asked.seed)
    status = 0
    try:
        _go_on(bench, progress, asked.seed, asked.kills, asked.full_every)
    except KeyboardInterrupt:
        print("\nthe same command goes on from here", flush=True)
        status = 130
    print(tally(progress.outcomes))
    failed = sum(bool(each.trouble) for each in progress.outcomes)
    print(f"{failed} of {len(progress.outcomes)} failed: {verdict(failed == 0)}")
    return status or int(failed > 0)


def _go_on(bench: Bench, progress: Progress, seed: int, kills: int, full_every: int) -> None:
    for number in range(kills):
        planned = plan(seed, number, bench.boards)
        if not progress.has(number):
            progress.add(bench.kill(planned))
            print(f"{number + 1:4} of {kills}  {progress.outcomes[-1]}", flush=True)
        if full_every and (number + 1) % full_every == 0 and not progress.has(number, full=True):
            progress.add(bench.full(planned))
            print(f"{'':4}{'':{len(str(kills)) + 4}}  {progress.outcomes[-1]}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
