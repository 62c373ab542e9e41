"""Whole racks for tests: ``rigs/virtual.toml`` with a place of its own, never the developer's ``.hil``."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from hil.device.platforms import PLATFORMS
from hil.rig.rigfile import load_rig
from hil.virtual.launch import rackbase

REPOSITORY = Path(__file__).resolve().parents[2]
HIL = [sys.executable, "-m", "hil.cli.main"]
CLIENTS = Path(__file__).parent / "rackclients.py"
PATIENCE = 30.0
BOARDS = load_rig(REPOSITORY / "rigs/virtual.toml").boards
BY_NAME = {platform.name: platform for platform in PLATFORMS}


@dataclass(frozen=True, slots=True)
class Site:
    """Where a rack, and the runs in it, keep everything: rig file, images, flash, cloud, reports."""

    root: Path

    @property
    def rig(self) -> Path:
        return self.root / "rig.toml"

    @property
    def cloud(self) -> Path:
        return self.root / "cloud"

    @property
    def reports(self) -> Path:
        return self.root / "reports"

    @property
    def flash(self) -> Path:
        """Where the boards' memory is kept."""
        return self.root / "flash"

    def rack(
        self, *command: str, mode: str | None = None, clock: bool = False, fast: bool = False
    ) -> list[str]:
        """The command line that runs ``command`` in a rack here, with ``clock`` on one that can be moved."""
        options = ["--rig", str(self.rig), "--state", str(self.flash)]
        return [
            *HIL,
            "rack",
            "run",
            *options,
            *(["--mode", mode] if mode else []),
            *(["--clock"] if clock else []),
            *(["--fast"] if fast else []),
            "--",
            *command,
        ]

    def pytest(self, *arguments: str) -> list[str]:
        """The command line of pytest, for a rack here."""
        options = ["--cloud-state", str(self.cloud), "--reports", str(self.reports)]
        return [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", *options, *arguments]

    def suites(self, *arguments: str, clock: bool = False) -> list[str]:
        """The command line that runs pytest in a rack here, one that plugs at once: these tests look at runs."""
        return self.rack(*self.pytest(*arguments), clock=clock, fast=True)


def new_site(root: Path) -> Site:
    """A site with a copy of the house's rig file whose images lie below ``root`` too."""
    site = Site(root)
    write_rig(site)
    return site


def write_rig(site: Site) -> None:
    """A copy of the house's rig file whose images lie at the site."""
    text = (REPOSITORY / "rigs/virtual.toml").read_text()
    private = text.replace('".hil/images"', json.dumps(str(site.root / "images")))
    assert private != text
    site.rig.write_text(private)


def environment(**more: str) -> dict[str, str]:
    """This process's, outside of any rack, with the commands of this Python first."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HIL_", "PYTEST"))}
    path = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", "")])
    modules = os.pathsep.join([str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**kept, "PATH": path, "PYTHONPATH": modules, "PYTHONUNBUFFERED": "1", **more}


def run(command: list[str], cwd: Path = REPOSITORY, **more: str) -> subprocess.CompletedProcess[str]:
    """Runs ``command`` to its end, with variables ``more``."""
    return subprocess.run(
        command, cwd=cwd, env=environment(**more), capture_output=True, text=True, timeout=120, check=False
    )


@dataclass(frozen=True, slots=True)
class StandingRack:
    """A rack that is up until its launcher's input ends."""

    launcher: subprocess.Popen[str]
    base: Path
    pid: int

    def command(self, *command: str) -> list[str]:
        """The command line that runs ``command`` in this rack."""
        return [*HIL, "rack", "exec", str(self.pid), "--", *command]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return run(self.command(*command), self.base)

    def output(self, *command: str) -> str:
        """What a command that succeeds prints."""
        done = self.run(*command)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def client(self, name: str, *arguments: str) -> Client:
        """Starts function ``name`` of ``rackclients.py`` in this rack."""
        return Client(self.command(sys.executable, str(CLIENTS), name, *arguments))


class Client:
    """A process in a rack that says lines of JSON."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def hear(self) -> Any:
        """The next line it says."""
        line = _pipe(self.process.stdout).readline()
        assert line, f"it ended: {self.process.wait(PATIENCE)}"
        return json.loads(line)

    def result(self) -> Any:
        """Its last line; it must end by itself and well."""
        output, _ = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 0
        return json.loads(output.splitlines()[-1])

    def tell(self, line: str) -> None:
        pipe = _pipe(self.process.stdin)
        pipe.write(line + "\n")
        pipe.flush()


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


@contextlib.contextmanager
def standing(site: Site, *, fast: bool = False) -> Iterator[StandingRack]:
    """A rack that stays up for the ``with`` block."""
    command = site.rack(shutil.which("sh") or "sh", "-c", "echo $HIL_RACK; exec cat", fast=fast)
    launcher = subprocess.Popen(
        command,
        cwd=site.root,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with launcher:
        base = Path(_pipe(launcher.stdout).readline().strip())
        assert base.name, _pipe(launcher.stderr).read()
        connection, pid = rackbase.supervisor(base)
        connection.close()
        try:
            yield StandingRack(launcher, base, pid)
        finally:
            _pipe(launcher.stdin).close()
            launcher.wait(PATIENCE)
