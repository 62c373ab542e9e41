"""A process that follows a clock: prints what its timers see, one line each.

Run as ``python follower_process.py SOCKET DELAY...``: one timer for each delay; one with ``x``
before it kills the process.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from hil.clock.client import Follower


def main(path: str, *delays: str) -> None:
    follower = Follower(Path(path), "follower")
    clock = follower.clock
    began = clock.monotonic()

    def say(word: str) -> None:
        print(word, f"{clock.monotonic() - began:.3f}", flush=True)

    for delay in delays:
        if delay.startswith("x"):
            clock.call_later(float(delay[1:]), lambda: os.kill(os.getpid(), 9))
        else:
            clock.call_later(float(delay), lambda word=delay: say(word))  # type: ignore[misc]
    print("follows", f"{clock.time():.3f}", flush=True)
    sys.stdin.read()  # until the test lets it end
    follower.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
