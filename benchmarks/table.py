"""What the benchmarks share: interleaved rounds, the table they print, their options.

Times of one machine differ threefold within minutes (field fact sheet, traps), so only ratios are kept: each
round runs all contestants, every other round in reverse order, and the median over the rounds counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

Task = Callable[[], object]
Clock = Callable[[], float]


@dataclass
class Table:
    """A table of text. ``note`` is printed below it."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    note: str = ""

    def add(self, *cells: object) -> None:
        """Append a row."""
        self.rows.append([str(cell) for cell in cells])

    def cell(self, row: str, column: str) -> str:
        """The cell of the row whose first cell is ``row``."""
        return next(cells for cells in self.rows if cells[0] == row)[list(self.columns).index(column)]

    def __str__(self) -> str:
        lines = [self.columns, *self.rows]
        widths = [max(len(line[at]) for line in lines) for at in range(len(self.columns))]
        rule = ["-" * width for width in widths]
        text = "\n".join(_line(line, widths) for line in (self.columns, rule, *self.rows))
        return "\n".join(part for part in (self.title, text, self.note) if part)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """First column to the left, figures to the right."""
    first = cells[0].ljust(widths[0])
    rest = [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
    return "  ".join([first, *rest]).rstrip()


def interleaved(
    tasks: Mapping[str, Task], rounds: int, clock: Clock = time.process_time
) -> dict[str, list[float]]:
    """Seconds that each task took in each round. The clock is processor time unless told otherwise."""
    names = list(tasks)
    spent: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            started = clock()
            tasks[name]()
            spent[name].append(clock() - started)
    return spent


def repeated(task: Task, count: int) -> Task:
    """A task that runs ``task`` ``count`` times."""

    def run() -> None:
        for _ in range(count):
            task()

    return run


def ratio(over: Sequence[float], under: Sequence[float]) -> float:
    """The median of the ratios of the rounds; 0 where the clock was too coarse to tell."""
    return median(a / b if b else 0.0 for a, b in zip(over, under, strict=True))


def verdict(met: bool) -> str:
    """How a goal fared."""
    return "met" if met else "MISSED"


def options(doc: str | None, argv: Sequence[str] | None, **defaults: int) -> dict[str, int]:
    """The command line: one integer option for each default."""
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    for name, value in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=value, help=f"default: {value}")
    return vars(parser.parse_args(argv))
