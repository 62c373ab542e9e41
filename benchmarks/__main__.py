"""Run benchmarks one after the other, all of them or the named ones: ``python -m benchmarks [NAME...]``."""

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


def main(argv: Sequence[str] | None = None) -> int:
    """Each in a process of its own, so that none warms or burdens the next. Returns how many failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    known = names()
    parser.add_argument("name", nargs="*", help=f"one of {', '.join(known)}; default: all")
    chosen: list[str] = parser.parse_args(argv).name or known
    for name in chosen:
        if name not in known:
            parser.error(f"there is no benchmark {name}; there are {', '.join(known)}")
    failed = 0
    for number, name in enumerate(chosen):
        if number:
            print(flush=True)
        failed += subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
