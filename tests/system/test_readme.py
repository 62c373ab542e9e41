"""What the README tells a stranger to type works: run in a virtual rack where it can be, else read by what takes it."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hil.cli.main import COMMANDS
from hil.rig.project import find_project
from tests.cli import lines
from tests.system import racks

ROOT = racks.REPOSITORY
TEXT = (ROOT / "README.md").read_text()
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PROGRAM = re.compile(r"(?:sudo )?(?:\S*/)?(hil|make|pytest|lsusb|dfu-util|plain-debian)(?: |$)")
_NOT_THERE = "rigs/my-bench.toml"  # what the reader writes


def blocks(language: str) -> list[str]:
    """Fenced blocks of a language; ``""`` for those that are typed into a shell."""
    return [body for name, body in _FENCE.findall(TEXT) if name == language]


def commands() -> dict[str, list[str]]:
    """Every command of the README, in blocks and in running text, by the program it calls."""
    typed = [line.partition("#")[0].strip() for block in blocks("") for line in block.splitlines()]
    in_text = re.findall(r"`([^`\n]+)`", _FENCE.sub("", TEXT))
    found: dict[str, list[str]] = {}
    for line in dict.fromkeys([*filter(None, typed), *in_text]):
        program = _PROGRAM.match(line)
        assert program or line in in_text, f"no test knows how to check `{line}`"
        if program and line != "hil":  # alone it is the name of all this
            found.setdefault(program[1], []).append(line)
    return found


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a checkout has after set-up, with the README's Python in the files that it names."""
    root = tmp_path_factory.mktemp("checkout")
    for name in ("conftest.py", "pytest.ini", "pyproject.toml"):
        shutil.copy(ROOT / name, root)
    for name in ("rigs", "firmware", "fixtures"):
        if (ROOT / name).exists():
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    (root / ".venv").symlink_to(Path(sys.executable).parents[1])
    for block in blocks("python"):
        place = re.match(r"# (\S+\.py)\n", block)
        assert place, f"the first line of this block does not say where it belongs:\n{block}"
        path = root / place[1]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block)
    return root


def typed(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What a person gets who types ``line`` in ``folder``."""
    return racks.run(["sh", "-c", line], folder)


def test_the_readme_was_read() -> None:
    assert {"hil", "make", "pytest", "plain-debian", "lsusb", "dfu-util"} <= commands().keys()
    assert ".venv/bin/hil rack run -- pytest suites/garden --board argon" in commands()["hil"]


def test_the_first_test_passes_by_the_line_below_it(checkout: Path) -> None:
    (line,) = [line for block in blocks("") for line in block.splitlines() if " suites/garden" in line]
    done = typed(line, checkout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
    assert re.search(r"^argon-1 +argon ", done.stdout, re.MULTILINE)


def test_what_can_be_looked_at_in_a_rack_is_there(checkout: Path) -> None:
    looks = [*commands()["lsusb"], *commands()["dfu-util"], "hil boards", "hil doctor"]
    inside = " && ".join(f"echo LINE && {line}" for line in looks)
    done = typed(f".venv/bin/hil rack run --mode dfu -- sh -c {shlex.quote(inside)}", checkout)
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout.split("LINE\n")[1:]
    usb, memories, slots, health = said
    assert usb.count("ID 2b04:") == 4
    assert memories.count("Found DFU: [2b04:") == 10
    assert slots.count(" dfu ") == 4
    assert "everything required is there" in health


def test_outside_of_a_rack_nothing_ends_in_a_traceback(checkout: Path) -> None:
    for line in ("hil boards", "hil doctor", "pytest suites/garden"):
        done = typed(line, checkout)
        assert "Traceback" not in done.stdout + done.stderr
        assert "hil rack run" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("line", commands()["hil"])
def test_hil_takes_the_line(line: str) -> None:
    lines.parse(line)


def test_every_subcommand_is_in_the_table() -> None:
    table = re.findall(r"^\| `(?:sudo )?hil (\w+)", TEXT, re.MULTILINE)
    assert sorted(table) == sorted(COMMANDS)


@pytest.mark.parametrize("line", commands()["make"])
def test_make_has_the_goal(line: str) -> None:
    words = shlex.split(line)
    assert racks.run(["make", "-n", *words[1:]]).returncode == 0


@pytest.mark.parametrize("line", commands()["pytest"])
def test_pytest_has_the_options_and_paths(line: str) -> None:
    known = racks.run([sys.executable, "-m", "pytest", "--help"]).stdout
    for word in shlex.split(line)[1:]:
        if word.startswith("-"):
            assert re.search(rf"^ *(-\w, )?{word}\b", known, re.MULTILINE), word
        elif "/" in word and word != _NOT_THERE:
            assert (ROOT / word).exists(), word


@pytest.mark.parametrize("line", commands()["plain-debian"])
def test_plain_debian_has_the_options(line: str) -> None:
    known = racks.run([str(ROOT / "scripts/plain-debian"), "--help"]).stdout
    own = line.partition(" -- ")[0]
    assert all(option in known for option in re.findall(r"--\w+", own))


def test_the_settings_of_a_project_are_taken(tmp_path: Path) -> None:
    (block,) = blocks("toml")
    (tmp_path / "pyproject.toml").write_text(block)
    project = find_project(tmp_path)
    assert project.rig == tmp_path / _NOT_THERE
    assert project.applications == (tmp_path / "firmware",)
