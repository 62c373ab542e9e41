"""What came of each kill: one line of JSON for each, so that the next start goes on; and the tally of all."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.table import Table

FULL_RUN = "full run"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A kill and its smoke run, or a full run after the kill of this ``number``.

    ``ended``: seconds from the signal until nothing ran any more; ``smoke``: seconds of the run that followed;
    ``trouble``: what should not have been, empty when all is well.
    """

    seed: int
    number: int
    victim: str
    moment: str = ""
    signal: str = ""
    board: str = ""
    ended: float = 0.0
    smoke: float = 0.0
    trouble: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        how = "passed" if not self.trouble else "FAILED: " + "; ".join(self.trouble)
        if self.victim == FULL_RUN:
            return f"{FULL_RUN} {how} in {self.smoke:.0f} s"
        what = f"{self.victim}, {self.moment}, {self.signal}, {self.board}"
        return f"{what}: ended in {self.ended:.1f} s, smoke run in {self.smoke:.1f} s, {how}"


class Progress:
    """The outcomes so far, in a file. A last line that was cut off by a kill does not count."""

    def __init__(self, path: Path, seed: int) -> None:
        """Raises ``SystemExit`` for a file of another seed."""
        self._path = path
        self.outcomes: list[Outcome] = []
        whole, _, cut = (path.read_bytes() if path.exists() else b"").rpartition(b"\n")
        if cut:
            path.write_bytes(whole + b"\n" if whole else b"")
        for line in whole.splitlines():
            outcome = Outcome(**json.loads(line))
            if outcome.seed != seed:
                raise SystemExit(
                    f"{path} belongs to seed {outcome.seed}: say --seed {outcome.seed}, or another --state"
                )
            self.outcomes.append(outcome)

    def add(self, outcome: Outcome) -> None:
        """Keep it."""
        self.outcomes.append(outcome)
        with self._path.open("ab") as file:
            file.write(json.dumps(asdict(outcome)).encode() + b"\n")

    def has(self, number: int, *, full: bool = False) -> bool:
        """Whether this kill, or the full run after it, has been done."""
        return any(each.number == number and (each.victim == FULL_RUN) == full for each in self.outcomes)


def tally(outcomes: Iterable[Outcome]) -> Table:
    """By what was killed and when: how many, how many passed, and the median seconds of each part."""
    table = Table(
        "Kills by victim and moment",
        ["victim, moment", "killed", "passed", "FAILED", "s to end", "s smoke run"],
    )
    found = list(outcomes)
    for key in sorted(
        {(each.victim, each.moment) for each in found}, key=lambda key: (key[0] == FULL_RUN, key)
    ):
        table.add(
            *_row(", ".join(filter(None, key)), [each for each in found if (each.victim, each.moment) == key])
        )
    kills = [each for each in found if each.victim != FULL_RUN]
    if kills:
        table.add(*_row("all kills", kills))
    return table


def _row(name: str, outcomes: list[Outcome]) -> list[object]:
    failed = sum(bool(each.trouble) for each in outcomes)
    ended, smoke = (
        median(values) for values in zip(*((each.ended, each.smoke) for each in outcomes), strict=True)
    )
    return [name, len(outcomes), len(outcomes) - failed, failed, f"{ended:.1f}", f"{smoke:.1f}"]
