"""``docs/your-firmware.md``, performed: every file written, every command run, in an empty repository.

Only the wheel is there, and what it says it needs.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.system.teams import Team, new_team

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/your-firmware.md"
BLOCK = re.compile(r"(?:^`(?P<path>[\w./-]+)`:\n\n)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.M | re.S)
IMAGES = """
from pathlib import Path
from hil.device.platforms import by_name
from hil.rig.images import FirmwareStore
from hil.rig.rigfile import load_rig
store = FirmwareStore.of(load_rig(Path("rigs/bench.toml")))
for name in ("argon", "photon"):
    image = store.image("greenhouse", "2", by_name(name))
    print(image.path, image.app, image.version)
"""


@dataclass(frozen=True, slots=True)
class Block:
    """A file to write at ``path``, or lines of shell."""

    path: str | None
    text: str


def blocks() -> Iterator[Block]:
    """The page's blocks in order. One without a language is for people only."""
    for found in BLOCK.finditer(PAGE.read_text()):
        assert (found["kind"] == "sh") == (found["path"] is None), found[0]
        yield Block(found["path"], found["text"])


@dataclass(frozen=True, slots=True)
class Performed:
    team: Team
    done: dict[str, list[subprocess.CompletedProcess[str]]]

    def output(self, command: str, number: int = 0) -> str:
        """What the ``number``-th run of ``command`` said. It went well."""
        done = self.done[command][number]
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def performed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Performed:
    team = new_team(tmp_path_factory.mktemp("company"), wheel)
    done: dict[str, list[subprocess.CompletedProcess[str]]] = {}
    for block in blocks():
        if block.path is None:
            done.setdefault(block.text.strip(), []).append(team.run(block.text))
        else:
            assert (team.root / block.path).exists(), f"{block.path} is not where hil init puts it"
            (team.root / block.path).write_text(block.text)
    return Performed(team, done)


def test_hil_comes_from_the_wheel(performed: Performed) -> None:
    said = performed.team.run(
        "python -c 'import hil, sys; print(hil.__file__, *sys.path)'; command -v hil"
    ).stdout
    environment = performed.team.programs.parent
    assert said.startswith(f"{environment}/lib/")
    assert str(ROOT) not in said
    assert said.endswith(f"{environment}/bin/hil\n")


def test_the_first_suite_passes_as_it_was_written(performed: Performed) -> None:
    assert re.search(r"^=+ 4 passed in ", performed.output("hil rack run -- pytest"), re.M)


def test_an_application_of_ones_own_runs_on_virtual_boards(performed: Performed) -> None:
    said = performed.output("hil rack run -- pytest", 1)
    assert re.search(r"^=+ 10 passed in ", said, re.M), said
    summary = json.loads((performed.team.root / "reports/summary.json").read_text())
    assert {board["platform"] for board in summary["boards"]} == {"photon", "electron", "argon", "boron"}
    names = {
        json.loads(path.read_text())["name"]
        for path in (performed.team.root / "reports/allure-results").glob("*-result.json")
    }
    assert {
        "test_frost_closes_the_window[argon]",
        "test_an_update_over_the_air_brings_the_limit[photon]",
    } <= names


def test_the_same_suite_is_collected_for_real_boards(performed: Performed) -> None:
    said = performed.output("pytest --collect-only -q --rig rigs/bench.toml")
    collected = [line.partition("::")[2] for line in said.splitlines() if "::" in line]
    assert collected == [
        *(f"test_watering_is_counted_and_reported[{name}]" for name in ("argon", "photon", "electron")),
        "test_frost_closes_the_window[argon]",
        *(f"test_version_1_lets_any_amount_through[{name}]" for name in ("argon", "photon")),
        *(f"test_an_update_over_the_air_brings_the_limit[{name}]" for name in ("argon", "photon")),
    ]


def test_the_bench_finds_the_compiled_images(performed: Performed) -> None:
    performed.output(next(command for command in performed.done if "particle compile" in command))
    target = performed.team.root / "target/greenhouse@2"
    assert performed.team.run(f"python -c '{IMAGES}'").stdout.splitlines() == [
        f"{target}/argon.bin greenhouse 2",
        f"{target}/photon.bin greenhouse 2",
    ]


def test_ci_runs_the_suites(performed: Performed) -> None:
    assert re.search(r"^=+ 10 passed in ", performed.output(".ci/run"), re.M)


def test_nothing_lies_around_that_git_would_see(performed: Performed) -> None:
    seen = performed.team.run("git init -q . && git status --porcelain").stdout.split("\n")
    untracked = {line.removeprefix("?? ") for line in seen if line}
    assert untracked == {".ci/", ".gitignore", "firmware/", "pyproject.toml", "rigs/", "suites/", "target/"}


@pytest.mark.parametrize("version", [1, 2])
def test_the_source_on_the_page_compiles(tmp_path: Path, version: int) -> None:
    (source,) = (block for block in blocks() if block.path is not None and block.path.endswith(".cpp"))
    (tmp_path / "greenhouse.cpp").write_text(source.text)
    command = ["g++", "-std=gnu++17", "-Wall", "-Wextra", "-Werror", f"-DGREENHOUSE_VERSION={version}"]
    files = [
        f"-I{ROOT / 'tests/firmware'}",
        "-c",
        str(tmp_path / "greenhouse.cpp"),
        "-o",
        str(tmp_path / "a.o"),
    ]
    subprocess.run([*command, "-Wno-unused-variable", *files], check=True)
