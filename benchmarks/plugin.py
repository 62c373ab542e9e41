"""What the plugin costs tests that do not use it: empty tests with ``-p hil.plugin`` against bare pytest, and imports.

Goal P8 (field fact sheet 5c): below 0.3 ms for each test, imports below 0.15 s. The overhead of a run is all that
it takes longer, start included, shared out over its tests. Both sides run without installed plugins.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.table import Table, interleaved, options, ratio, verdict

ROOT = Path(__file__).resolve().parent.parent
GOAL_TEST = 0.3  # ms
GOAL_IMPORT = 150.0  # ms
IMPORTS = {
    "pytest": "import pytest",
    "two": "import hil.plugin.options, hil.plugin.selection",
    "all": "import hil.plugin as p, importlib; [importlib.import_module(n) for n in p.pytest_plugins]",
}


def children_seconds() -> float:
    """Processor time of all children so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _python(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    environment.pop("PYTEST_ADDOPTS", None)
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)


def prepare(folder: Path, tests: int, *, plugin: bool) -> Path:
    """A folder with ``tests`` empty tests, run with the plugin when asked for."""
    folder.mkdir()
    functions = (f"def test_{number}():\n    pass\n" for number in range(tests))
    (folder / "test_empty.py").write_text("\n".join(functions))
    also = " -p hil.plugin" if plugin else ""
    (folder / "pytest.ini").write_text(f"[pytest]\naddopts = -q -p no:cacheprovider{also}\n")
    return folder


def run_tests(folder: Path, tests: int) -> None:
    """Run what ``prepare`` made. Raises unless every test passed."""
    output = _python("-m", "pytest", folder=folder).stdout
    if f"{tests} passed" not in output:
        raise AssertionError(f"expected {tests} passed tests: {output[-500:]}")


def time_runs(rounds: int, tests: int) -> dict[str, list[float]]:
    """Seconds of processor time with ``tests`` tests and with one ("... start"), ours and bare."""
    with tempfile.TemporaryDirectory() as folder:
        plans = {
            f"{who}{suffix}": (
                prepare(Path(folder, f"{who}{suffix}"), number, plugin=who == "hil"),
                number,
            )
            for who in ("bare", "hil")
            for suffix, number in (("", tests), (" start", 1))
        }
        tasks = {name: lambda plan=plan: run_tests(*plan) for name, plan in plans.items()}
        return interleaved(tasks, rounds, children_seconds)


def import_ms(statement: str) -> float:
    """Milliseconds that ``-X importtime`` sums up for ``statement``."""
    lines = _python("-X", "importtime", "-c", statement).stderr.splitlines()
    fields = (line.removeprefix("import time:").split("|")[0] for line in lines if "|" in line)
    return sum(int(field) for field in fields if field.strip().isdigit()) / 1000


def time_imports(rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each of ``IMPORTS`` beyond a bare interpreter, in each of ``rounds`` rounds."""
    rows: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for _ in range(rounds):
        empty = import_ms("pass")
        for name, statement in IMPORTS.items():
            rows[name].append(import_ms(statement) - empty)
    return rows


def _more_ms(over: Sequence[float], under: Sequence[float]) -> float:
    return 1000 * median(a - b for a, b in zip(over, under, strict=True))


def measure(rounds: int, count: int) -> Table:
    """``rounds`` interleaved runs of ``count`` empty tests, and as many imports."""
    runs, imports = time_runs(rounds, count), time_imports(rounds)
    columns = ("what", "ratio", "against", "more", "goal", "verdict")
    table = Table(f"Cost of the plugin when unused, median of {rounds}", columns)
    total, start = _more_ms(runs["hil"], runs["bare"]), _more_ms(runs["hil start"], runs["bare start"])
    each = total / count
    table.add(
        f"{count} empty tests",
        f"{ratio(runs['hil'], runs['bare']):.2f}x",
        "bare pytest",
        f"{each:.3f} ms a test",
        f"{GOAL_TEST:g} ms",
        verdict(each < GOAL_TEST),
    )
    times = ratio(runs["hil start"], runs["bare start"])
    table.add("1 empty test", f"{times:.2f}x", "bare pytest", f"{start:.0f} ms", "-", "-")
    for name, label in (("two", "import options, selection"), ("all", "import all of the plugin")):
        times = ratio(imports[name], imports["pytest"])
        more = _more_ms(imports[name], imports["pytest"]) / 1000
        judged = f"{GOAL_IMPORT:g} ms", verdict(more < GOAL_IMPORT)
        table.add(label, f"{times:.2f}x", "import pytest", f"{more:.0f} ms", *judged)
    return table


def main(argv: Sequence[str] | None = None) -> None:
    print(measure(**options(__doc__, argv, rounds=11, count=1000)))


if __name__ == "__main__":
    main()
