"""The machine-readable summary of a run, ``reports/summary.json``, and its lines for the terminal."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(slots=True)
class BoardSummary:
    """What one board did in a run. ``variant`` is what the rig file calls it, if USB cannot tell ("E Series")."""

    slot: str
    platform: str
    device_id: str
    transport: str
    tests: int = 0
    flashes: int = 0
    variant: str | None = None

    def as_dict(self) -> dict[str, object]:
        """Its member of ``summary.json``; ``variant`` is there only for a board that has one."""
        members = asdict(self)
        if self.variant is None:
            del members["variant"]
        return members


@dataclass(slots=True)
class RunSummary:
    """Counts of one run.

    ``operations`` is the number of Data Operations by kind (publish, subscribe, function, variable).
    """

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    errors: int = 0
    boards: dict[str, BoardSummary] = field(default_factory=dict)
    operations: Counter[str] = field(default_factory=Counter)
    duration_s: float = 0.0

    def count(self, when: str, outcome: str) -> None:
        """Count one phase report of pytest: ``when`` is setup, call or teardown, ``outcome`` its outcome.

        A test that fails outside its call phase is an error; one that is skipped counts once.
        """
        if outcome == "failed":
            if when == "call":
                self.failed += 1
            else:
                self.errors += 1
        elif outcome == "skipped":
            self.skipped += 1
        elif when == "call":
            self.passed += 1

    def add_operations(self, spent: Mapping[str, int]) -> None:
        """Add Data Operations by kind."""
        self.operations.update(spent)

    def as_dict(self) -> dict[str, object]:
        """The content of ``summary.json``."""
        return {
            "tests": {
                "passed": self.passed,
                "failed": self.failed,
                "skipped": self.skipped,
                "errors": self.errors,
            },
            "boards": [board.as_dict() for board in self.boards.values()],
            "operations": dict(sorted(self.operations.items())),
            "duration_s": round(self.duration_s, 3),
        }

    def write(self, path: Path) -> None:
        """Write ``summary.json``; a reader never sees half of it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".json.part")
        draft.write_text(json.dumps(self.as_dict(), indent=2) + "\n", encoding="utf-8")
        draft.replace(path)

    def lines(self) -> Iterable[str]:
        """The summary per board for the terminal."""
        if self.boards:
            yield f"{'board':<14}{'kind':<10}{'device id':<26}{'transport':<11}{'tests':>5}{'flashes':>9}"
        for board in self.boards.values():
            yield (
                f"{board.slot:<14}{board.variant or board.platform:<10}{board.device_id:<26}"
                f"{board.transport:<11}{board.tests:>5}{board.flashes:>9}"
            )
        total = sum(self.operations.values())
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(self.operations.items()))
        yield f"data operations: {total}" + (f" ({kinds})" if kinds else "")
