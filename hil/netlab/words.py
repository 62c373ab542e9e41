"""The firewall's counters in words, for people who read a report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def counters_in_words(rows: Iterable[Mapping[str, Any]], cloud: str, ports: Sequence[int]) -> list[str]:
    """A line for each row of ``Network.counters``: ``10.77.3.2: udp 5684 to 198.18.0.2: 3 dropped, 12 passed``.

    Counters know ports, not the other side's address: it is said for ``ports``, which are those of ``cloud``.
    """
    return [f"{row['board']}: {_service(row, cloud, ports)}: {_counts(row)}" for row in rows]


def stopped_in_words(rows: Iterable[Mapping[str, Any]], cloud: str, ports: Sequence[int]) -> str:
    """What rules have stopped, on one line: ``udp 5684 to 198.18.0.2: 3 dropped``; empty when nothing was."""
    return "; ".join(
        f"{_service(row, cloud, ports)}: {row['dropped']} dropped" for row in rows if row["dropped"]
    )


def _service(row: Mapping[str, Any], cloud: str, ports: Sequence[int]) -> str:
    way = "to" if row["direction"] == "up" else "from"
    return f"{row['protocol']} {row['port']} {way} {cloud if row['port'] in ports else 'elsewhere'}"


def _counts(row: Mapping[str, Any]) -> str:
    dropped = f"{row['dropped']} dropped" if row["dropped"] else ""
    passed = f"{row['passed']} passed" if row["passed"] else ""
    return ", ".join(each for each in (dropped, passed) if each) or "nothing"
