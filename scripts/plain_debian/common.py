"""What all parts of ``scripts/plain-debian`` share."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
# As in Automake and Meson: "not tried here", which is neither passed nor failed.
CANNOT_RUN = 77


class CannotRun(Exception):
    """No plain Debian can be had on this machine. Its text is one sentence that says why."""


def say(text: str) -> None:
    print(f"plain-debian: {text}", file=sys.stderr, flush=True)


def call(*command: str | Path, why: str, environment: Mapping[str, str] | None = None) -> str:
    """What ``command`` wrote. Raises ``CannotRun`` with ``why`` and its last words when it is missing or fails."""
    arguments: Sequence[str] = [str(word) for word in command]
    try:
        done = subprocess.run(
            arguments,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise CannotRun(f"{why}: {error}") from error
    if done.returncode != 0:
        words = [" ".join(line.split()) for line in done.stdout.splitlines() if line.strip()]
        raise CannotRun(f"{why}: {' / '.join(words[-3:]) or f'status {done.returncode}'}")
    return done.stdout
