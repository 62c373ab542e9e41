"""The first process of a plain Debian: statuses, orphans, and the one line that an ordinary user is told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.plain_debian import running
from scripts.plain_debian.common import REPOSITORY

# In a process of its own: it waits for every child there is.
RUN = """
import sys
from dataclasses import replace
from scripts.plain_debian import accounts, running
account = replace(accounts.Account.root(), path=sys.argv[2])
accounts.Account.root = classmethod(lambda _: account)
sys.exit(getattr(running, sys.argv[1])(sys.argv[3:], account, {"CARRIED": "yes"}))
"""


def run(name: str, path: str, *command: str) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, "-c", RUN, name, path, *command]
    return subprocess.run(arguments, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)


def folder_with(folder: Path, **scripts: str) -> str:
    """A PATH that begins with ``scripts``."""
    folder.mkdir()
    for name, text in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    return f"{folder}:/usr/bin:/bin"


@pytest.mark.parametrize(("script", "status"), [("exit 0", 0), ("exit 5", 5), ("kill -9 $$", 137)])
def test_the_status_is_the_commands(script: str, status: int) -> None:
    assert run("run", "/usr/bin:/bin", "sh", "-c", script).returncode == status


def test_a_command_that_is_not_there_is_named() -> None:
    done = run("run", "/usr/bin:/bin", "no-such-command")
    assert done.returncode == 127
    assert "no-such-command: No such file or directory" in done.stderr


def test_the_environment_is_a_logins_and_what_was_carried() -> None:
    done = run("run", "/usr/bin:/bin", "env")
    names = {line.partition("=")[0] for line in done.stdout.splitlines()}
    assert names == {"HOME", "USER", "LOGNAME", "SHELL", "PATH", "TERM", "CARRIED"}


def test_the_one_line_is_typed_as_root_and_the_command_tried_again(tmp_path: Path) -> None:
    path = folder_with(tmp_path / "bin", **{"apt-get": f"echo $1 >>{tmp_path}/typed"})
    line = "sudo apt-get update && sudo apt-get install x"
    asks = f"grep -q install {tmp_path}/typed && exit 6; echo '    {line}'; exit 2"
    done = run("run_after_apt_line", path, "sh", "-c", asks)
    assert done.returncode == 6
    assert (tmp_path / "typed").read_text().split() == ["update", "install"]
    assert f"as root, the one line: {line}" in done.stderr


def test_a_second_line_is_one_too_many(tmp_path: Path) -> None:
    path = folder_with(tmp_path / "bin", **{"apt-get": "exit 0"})
    done = run("run_after_apt_line", path, "sh", "-c", "echo '    sudo apt-get install x'; exit 2")
    assert done.returncode == 2


def test_a_line_that_fails_is_shown_and_ends_the_run(tmp_path: Path) -> None:
    path = folder_with(tmp_path / "bin", **{"apt-get": "echo E: no such package >&2; exit 100"})
    done = run("run_after_apt_line", path, "sh", "-c", "echo '    sudo apt-get install x'; exit 2")
    assert done.returncode == 1
    assert "E: no such package" in done.stdout
    assert "the one line failed with status 1" in done.stderr


@pytest.mark.parametrize("status", [0, 4])
def test_without_a_line_the_first_try_counts(status: int) -> None:
    done = run("run_after_apt_line", "/usr/bin:/bin", "sh", "-c", f"echo tried; exit {status}")
    assert done.returncode == status
    assert done.stderr.count("tried") == 1


@pytest.mark.parametrize("goal", ["hil", "test"])
def test_set_up_prints_a_line_that_is_found(goal: str, tmp_path: Path) -> None:
    path = folder_with(tmp_path / "bin", **{"id": "echo 1000", "dpkg-query": "exit 1"})
    done = subprocess.run(
        [REPOSITORY / "scripts/setup", goal],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    line = running.apt_line(done.stderr)
    assert line is not None
    assert line.startswith("sudo apt-get update && sudo apt-get install -y --no-install-recommends dfu-util ")
    assert "sudo" not in running.without_sudo(line)
