"""What a failed test's report shows of its boards and of what they cost, as text for people."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from hil.printable import printable
from hil.report.columns import in_columns, time_of_day

if TYPE_CHECKING:
    from hil.cloud.sync.facade import DeviceCloud
    from hil.cloud.sync.logs import Mark, Spending
    from hil.report.evidence import Evidence
    from hil.rig.cloud_board import CloudBoard
    from hil.rig.live import Rig


def of_board(evidence: Evidence, cloud: DeviceCloud, board: CloudBoard) -> None:
    """Show what ``board`` says and what passes between it and the cloud from now on."""
    start, since = board.serial.mark(), cloud.mark()
    evidence.add(f"serial log of {board.name}", "log", lambda: serial_log(board, start))
    evidence.add(f"cloud log of {board.name}", "log", lambda: cloud_log(cloud, board, since))
    evidence.add(f"CoAP of {board.name}", "txt", lambda: "\n".join(cloud.messages(board, since=since)))
    evidence.add(f"session keys of {board.name}", "txt", lambda: cloud.session_keys(board))


def cloud_log(cloud: DeviceCloud, board: CloudBoard, since: Mark) -> str:
    """What happened with ``board`` at the cloud, with data, arguments, results and costs."""
    from hil.cloud.sync.words import in_words

    rows = [
        (
            time_of_day(entry.at),
            entry.what.kind,
            in_words(entry),
            ", ".join(f"{cost.kind} {cost.count}" for cost in entry.costs),
        )
        for entry in cloud.told(board, since=since)
    ]
    return in_columns(("time", "what", "in words", "costs"), rows)


def serial_log(board: CloudBoard, start: int) -> str:
    """The serial log from offset ``start`` on, each line with the time of day at which it began."""
    ahead = time.time() - time.monotonic()
    return "".join(
        f"{time_of_day(line.at + ahead)}  {printable(line.text)}\n"
        for line in board.serial.lines(since=start)
    )


def operations_table(operations: Spending, rig: Rig) -> str:
    """The rows of the ledger as a table, and their sums by kind."""
    names = {board.device_id: board.name for board in rig.boards.values()}
    rows = [
        (
            time_of_day(row.at),
            row.kind,
            str(row.count),
            names.get(row.device_id or "", row.device_id or "-"),
            printable(row.cause),
        )
        for row in operations.rows()
    ]
    sums = ", ".join(f"{kind} {count}" for kind, count in sorted(operations.spent().items()))
    return in_columns(("time", "kind", "count", "device", "cause"), rows) + f"sum: {sums or 'nothing'}\n"
