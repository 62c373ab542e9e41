"""``hil cloud`` as a process of its own, with as many file descriptors as a benchmark or a test gives it."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_PATIENCE = 60.0  # seconds; only ever used up by a failure


@dataclass(frozen=True)
class CloudProcess:
    """A running ``hil cloud``. ``tcp`` and ``udp``: where boards connect."""

    process: subprocess.Popen[str]
    url: str
    token: str
    tcp: tuple[str, int]
    udp: tuple[str, int]
    stdout: Path
    stderr: Path

    def memory(self, what: str = "VmRSS") -> float:
        """Its memory in MB: ``VmRSS`` now, ``VmHWM`` at the most so far."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith(f"{what}:"))
        return int(line.split()[1]) / 1024

    def open_files(self) -> int:
        """How many descriptors it has."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def log(self) -> str:
        """What it has told so far."""
        return self.stdout.read_text()

    def complaints(self) -> str:
        """What it has written to its standard error."""
        return self.stderr.read_text()


@contextmanager
def cloud_process(state: Path, descriptors: int, *arguments: str) -> Iterator[CloudProcess]:
    """``hil cloud --state STATE ARGUMENTS`` on free ports; soft and hard limit are ``descriptors``."""

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

    command = [sys.executable, "-c", "from hil.cli.main import main; main()", "cloud", "--state", str(state)]
    ports = ["--tcp-port", "0", "--udp-port", "0", "--http-port", "0"]
    stderr, stdout = state.with_suffix(".stderr"), state.with_suffix(".stdout")
    with stderr.open("w") as errors, stdout.open("w") as log:
        process = subprocess.Popen(
            [*command, *ports, "--json", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=errors,
            text=True,
            preexec_fn=limited,
        )
    try:
        said = _first_line(process, stdout, stderr)
        tcp, udp = _address(said["tcp"]), _address(said["udp"])
        yield CloudProcess(process, said["url"], said["token"], tcp, udp, stdout, stderr)
    finally:
        process.terminate()
        process.wait(_PATIENCE)


def _first_line(process: subprocess.Popen[str], stdout: Path, stderr: Path) -> dict[str, str]:
    while process.poll() is None:
        with stdout.open() as log:
            line = log.readline()
        if line.endswith("\n"):
            said: dict[str, str] = json.loads(line)
            return said
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
    raise RuntimeError(f"the cloud did not start: {stderr.read_text()}")


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)
