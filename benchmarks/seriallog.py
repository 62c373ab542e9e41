"""What a serial log costs when it is long: taking in, and looking for something that is not there yet.

Issue 6, point 17: appending is linear. The first megabyte is compared with the tenth; a log that copies what it has
makes the tenth many times slower. Looking runs beside the talking, as a test's ``expect`` does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from benchmarks.table import Table, options, verdict
from hil.usb.seriallog import SerialLog

MEGABYTE = 1 << 20
LINE = b"0000012345 [app] INFO: temperature=21.5 humidity=40\r\n"
GOAL = 2.0  # times the first megabyte


def take_in(log: SerialLog, size: int = MEGABYTE) -> float:
    """Seconds of processor time for ``size`` bytes, line by line."""
    began = time.process_time()
    for _ in range(size // len(LINE)):
        log.append(LINE)
    return time.process_time() - began


def look_beside(size: int) -> tuple[float, float]:
    """Seconds until ``size`` bytes are in while somebody looks for their last line, and until that one is found."""
    log = SerialLog("bench")
    found: list[float] = []

    def look() -> None:
        log.expect(r"^the end$", 300)
        found.append(time.perf_counter())

    looker = threading.Thread(target=look)
    looker.start()
    began = time.perf_counter()
    take_in(log, size)
    log.append(b"the end\n")
    taken = time.perf_counter()
    looker.join()
    return taken - began, found[0] - taken


def measure(size: int) -> Table:
    """``size`` megabytes into one log, and into another that somebody looks through meanwhile."""
    log = SerialLog("bench")
    costs = [take_in(log) for _ in range(size)]
    taken, after = look_beside(size * MEGABYTE)
    growth = costs[-1] / costs[0]
    table = Table("A long serial log", ("what", "MB/s", "against the first", "goal", "verdict"))
    table.add("first MB", f"{1 / costs[0]:.1f}", "-", "-", "-")
    table.add(f"MB {size}", f"{1 / costs[-1]:.1f}", f"{growth:.2f}x", f"{GOAL:g}x", verdict(growth < GOAL))
    table.add(f"{size} MB, looked through meanwhile", f"{size / taken:.1f}", "-", "-", "-")
    table.note = f"Its last line was found {after:.2f} s after it came."
    return table


def main(argv: Sequence[str] | None = None) -> None:
    print(measure(**options(__doc__, argv, size=10)))


if __name__ == "__main__":
    main()
