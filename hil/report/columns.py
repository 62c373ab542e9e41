"""Text in columns."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence


def in_columns(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as text: ``heads``, then a line for each row, columns as wide as their longest entry."""
    lines = [tuple(heads), *(tuple(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    return "".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() + "\n"
        for line in lines
    )


def time_of_day(seconds: float) -> str:
    """``seconds`` since 1970 as a local time with milliseconds, the form of every log of a report."""
    whole, fraction = divmod(round(seconds * 1000), 1000)
    return f"{time.strftime('%H:%M:%S', time.localtime(whole))}.{fraction:03}"
