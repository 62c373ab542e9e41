"""Run benchmarks one after the other: ``python -m benchmarks [NAME...]``, or ``NAME OPTIONS`` for one.

Without a name all but those that take their time (``ON_REQUEST``).
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Sequence

import benchmarks


def names() -> list[str]:
    """The modules of this package that are benchmarks: they have a ``main``."""
    found = (each.name for each in pkgutil.iter_modules(benchmarks.__path__) if each.name != "__main__")
    return [name for name in found if hasattr(importlib.import_module(f"benchmarks.{name}"), "main")]


def _on_request(name: str) -> bool:
    return bool(getattr(importlib.import_module(f"benchmarks.{name}"), "ON_REQUEST", False))


def main(argv: Sequence[str] | None = None) -> int:
    """Each in a process of its own, so that none warms or burdens the next. Returns how many failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    known = names()
    parser.add_argument("name", nargs="*", help=f"one of {', '.join(known)}; default: all short ones")
    asked, rest = parser.parse_known_args(argv)
    chosen: list[str] = asked.name or [name for name in known if not _on_request(name)]
    for name in chosen:
        if name not in known:
            parser.error(f"there is no benchmark {name}; there are {', '.join(known)}")
    if rest and len(chosen) != 1:
        parser.error(f"{' '.join(rest)} is for one benchmark: name it")
    failed = 0
    for number, name in enumerate(chosen):
        if number:
            print(flush=True)
        failed += (
            subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *rest], check=False).returncode != 0
        )
    return failed


if __name__ == "__main__":
    sys.exit(main())
