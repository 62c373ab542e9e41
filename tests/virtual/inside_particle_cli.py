"""Runs inside a virtual rack, started by ``test_particle_cli_usb.py``: particle-cli at the boards there.

Its argument is JSON: threads of commands, each command a list of words. ``{tty}`` before a device id stands for the
board's tty. A command that starts with ``dfu-util`` is that program. Prints what each command said, by thread.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

CLI = Path(__file__).parents[1] / "clients" / "node_modules" / "particle-cli" / "src" / "index.js"
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def tty_of(device_id: str) -> str:
    """The tty of a board: its serial string is its id, in either case."""
    for interface in Path("/sys/bus/usb/devices").glob("*:1.*/tty/*"):
        serial = interface.resolve().parents[2] / "serial"
        if serial.read_text().strip().lower() == device_id:
            return f"/dev/{interface.name}"
    raise LookupError(device_id)


def run(words: list[str]) -> tuple[int, str]:
    """One command: exit status and what it said, without colours and empty lines."""
    program = ["node", str(CLI), *words] if words[0] != "dfu-util" else words
    done = subprocess.run(
        [tty_of(word[5:]) if word.startswith("{tty}") else word for word in program],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=90,
        check=False,
    )
    said = _COLOURS.sub("", done.stdout).replace("\r", "\n")
    return done.returncode, "\n".join(line.rstrip() for line in said.splitlines() if line.strip())


def visit(commands: list[list[str]]) -> list[tuple[int, str]]:
    """One command after the other."""
    return [run(words) for words in commands]


def main() -> None:
    threads: dict[str, list[list[str]]] = json.loads(sys.argv[1])
    assert os.environ["HOME"] != "/root", "particle-cli keeps its settings in HOME"
    with ThreadPoolExecutor(len(threads)) as pool:
        print(json.dumps(dict(zip(threads, pool.map(visit, threads.values()), strict=True))))


if __name__ == "__main__":
    main()
