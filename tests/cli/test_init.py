"""``hil init``: what it writes, what it leaves alone, what it refuses."""

from __future__ import annotations

import os
import subprocess
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from hil import resources
from hil.cli.init import checked_name, name_from
from hil.cli.main import main
from hil.errors import UsageError
from hil.rig.project import find_project
from hil.rig.rigfile import load_rig
from hil.virtual.app.library import ApplicationLibrary

HEADER = Path(__file__).parents[1] / "firmware"


def init(folder: Path, *options: str, status: int = 0) -> str:
    result = CliRunner().invoke(main, ["init", *options, str(folder)])
    assert result.exit_code == status, result.output
    return result.output


def files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_project_with_an_application_a_suite_and_two_rigs(tmp_path: Path) -> None:
    said = init(tmp_path, "--app", "greenhouse")
    assert set(files(tmp_path)) == {
        *("pyproject.toml", ".gitignore", ".ci/run", "rigs/virtual.toml", "rigs/bench.toml"),
        *("firmware/greenhouse/twin.py", "firmware/greenhouse/src/greenhouse.cpp"),
        *("firmware/greenhouse/project.properties", "suites/test_greenhouse.py"),
    }
    assert [line.split()[0] for line in said.splitlines() if line and "next:" not in line] == ["new"] * 9
    assert said.splitlines()[-1] == f"next: cd {tmp_path} && hil rack run -- pytest"
    project = find_project(tmp_path / "suites")
    assert (project.root, project.app) == (tmp_path, "greenhouse")
    assert project.rig is not None
    virtual, bench = load_rig(project.rig), load_rig(tmp_path / "rigs/bench.toml")
    assert virtual.boards == load_rig(resources.virtual_rig()).boards
    assert bench.applications == (tmp_path / "firmware",)
    assert ApplicationLibrary(bench.applications).load("greenhouse").VERSIONS == (1,)
    assert "starter" not in "".join(files(tmp_path).values())
    assert os.access(tmp_path / ".ci/run", os.X_OK)


def test_a_second_run_changes_nothing_and_says_so(tmp_path: Path) -> None:
    init(tmp_path, "--app", "greenhouse")
    before = files(tmp_path)
    said = init(tmp_path, "--app", "greenhouse")
    assert files(tmp_path) == before
    assert [line.split()[0] for line in said.splitlines() if line and "next:" not in line] == ["kept"] * 9


def test_what_a_team_has_already_is_kept_and_only_added_to(tmp_path: Path) -> None:
    mine = {
        "pyproject.toml": '[project]\nname = "garden"\n[tool.ruff]\nline-length = 80',
        ".gitignore": "target\n/.hil",
        "firmware/greenhouse/twin.py": "# ours\n",
    }
    for name, text in mine.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    said = init(tmp_path, "--app", "greenhouse")
    now = files(tmp_path)
    assert now["pyproject.toml"].startswith(mine["pyproject.toml"])
    settings = tomllib.loads(now["pyproject.toml"])
    assert (settings["project"]["name"], settings["tool"]["hil"]["app"]) == ("garden", "greenhouse")
    assert now[".gitignore"] == "target\n/.hil\nreports/\n"
    assert now["firmware/greenhouse/twin.py"] == "# ours\n"
    assert f"added  {tmp_path}/pyproject.toml   ([tool.hil])" in said
    assert f"kept   {tmp_path}/firmware/greenhouse/twin.py" in said


def test_settings_that_are_there_are_the_teams(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.hil]\n")
    assert f"kept   {tmp_path}/pyproject.toml   (it has [tool.hil])" in init(tmp_path)
    assert (tmp_path / "pyproject.toml").read_text() == "[tool.hil]\n"


@pytest.mark.parametrize("text", ["tool = 1\n", "tool = {ruff = {}}\n", "[project\n"])
def test_settings_that_cannot_be_added_to_are_left_alone(tmp_path: Path, text: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    said = init(tmp_path, status=2)
    assert f"[tool.hil] cannot be added to {tmp_path}/pyproject.toml" in said
    assert files(tmp_path) == {"pyproject.toml": text}


def test_a_name_that_comes_with_hil_is_refused(tmp_path: Path) -> None:
    said = init(tmp_path / "probe", status=2)
    assert "an application called probe comes with hil" in said
    assert "--app NAME" in said
    assert not (tmp_path / "probe").exists()


@pytest.mark.parametrize(
    ("folder", "name"),
    [("Green House 2", "green_house_2"), ("2nd-garden", "app_2nd_garden"), ("été", "t"), ("---", "app")],
)
def test_the_application_is_called_like_the_directory(folder: str, name: str) -> None:
    assert name_from(folder) == name


@given(st.text())
def test_any_directory_gives_a_name_that_can_be_had(folder: str) -> None:
    name = name_from(folder)
    if name in ("probe", "blinker"):
        with pytest.raises(UsageError, match="comes with hil"):
            checked_name(name)
    else:
        assert checked_name(name).isidentifier()


@pytest.mark.parametrize("name", ["", "a b", "../up", "x" * 33, "9lives"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        checked_name(name)


@pytest.mark.parametrize("release", ["0x02030100", "0x06020000"])
def test_the_source_for_real_boards_compiles(tmp_path: Path, release: str) -> None:
    init(tmp_path, "--app", "greenhouse")
    source = tmp_path / "firmware/greenhouse/src/greenhouse.cpp"
    options = [
        "-std=gnu++17",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-Wno-unused-variable",
        f"-DSYSTEM_VERSION={release}",
    ]
    subprocess.run(
        ["g++", *options, f"-I{HEADER}", "-c", str(source), "-o", str(tmp_path / "greenhouse.o")], check=True
    )


def test_the_doctor_misses_the_boards_of_a_bench_but_not_of_the_virtual_rack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    init(tmp_path, "--app", "greenhouse")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HIL_RIG", raising=False)
    monkeypatch.delenv("HIL_RACK", raising=False)
    assert "MISS  boards" not in CliRunner().invoke(main, ["doctor"]).output
    bench = CliRunner().invoke(main, ["doctor", "--rig", "rigs/bench.toml"])
    assert "MISS  boards" in bench.output
    assert bench.exit_code == 1
