"""``hil`` as a command, and what one that refuses may say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from hil.cli.main import main

REPOSITORY = Path(__file__).parents[2]
HIL = [sys.executable, "-m", "hil.cli.main"]
ANY_PORT = ["--tcp-port", "0", "--udp-port", "0", "--http-port", "0"]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, timeout=60, check=False)


def run_here(*arguments: str) -> subprocess.CompletedProcess[str]:
    """``hil`` in this process: for what needs none of its own."""
    result = CliRunner().invoke(main, list(arguments))
    return subprocess.CompletedProcess(arguments, result.exit_code, result.stdout, result.stderr)


def refused(result: subprocess.CompletedProcess[str], *words: str) -> str:
    """What a command that has refused said: one message on stderr, nothing else."""
    assert result.returncode in (1, 2), result
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("Error: ") == 1
    assert "Traceback" not in result.stderr
    assert "what to do: " in result.stderr
    for word in words:
        assert word in result.stderr
    return result.stderr
