"""Where a project's root is, and what it says about its rig."""

from __future__ import annotations

from pathlib import Path

import pytest

from hil import resources
from hil.errors import UsageError
from hil.rig.project import Project, find_project


def make(folder: Path, settings: str | None = None, *marks: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    if settings is not None:
        (folder / "pyproject.toml").write_text(settings)
    for mark in marks:
        (folder / mark).touch()
    return folder


def test_the_project_is_the_nearest_folder_upwards_that_says_so(tmp_path: Path) -> None:
    root = make(tmp_path, '[tool.hil]\nrig = "rigs/my.toml"\napplications = ["firmware", "/srv/apps"]\n')
    deep = make(tmp_path / "suites/garden", None, "pytest.ini")
    expected = Project(root, root / "rigs/my.toml", (root / "firmware", Path("/srv/apps")))
    assert find_project(deep) == find_project(root) == expected
    assert (expected.state("cloud"), expected.reports) == (root / ".hil/cloud", root / "reports")
    inner = make(deep / "inner", "[tool.hil]\n")
    assert find_project(inner / "nowhere") == Project(inner)


@pytest.mark.parametrize("mark", ["pytest.ini", ".git", "pyproject.toml"])
def test_without_settings_the_nearest_mark_of_a_root_counts(tmp_path: Path, mark: str) -> None:
    make(tmp_path, "[project]\nname = 'hil-of-us'\n")
    team = make(tmp_path / "team", None, mark)
    assert find_project(make(team / "a/b")).root == team


def test_a_folder_in_no_project_is_its_own_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_project() == Project(tmp_path)


def test_every_mistake_in_the_settings_is_told_with_its_line(tmp_path: Path) -> None:
    make(tmp_path, "[project]\nname = 'x'\n\n[tool.hil]\nrigs = 'a.toml'\napplications = 'firmware'\n")
    with pytest.raises(UsageError) as caught:
        find_project(tmp_path)
    assert caught.value.found.split("\n    ")[1:] == [
        f"{tmp_path}/pyproject.toml:5: rigs: no such key, did you mean 'rig'?; known: rig, applications, app",
        f"{tmp_path}/pyproject.toml:6: applications: a list is expected",
    ]
    make(tmp_path, "[tool.hil\n")
    with pytest.raises(UsageError, match=r"pyproject\.toml is not TOML"):
        find_project(tmp_path)


def test_a_settings_file_that_says_nothing_of_hil_may_be_broken(tmp_path: Path) -> None:
    assert find_project(make(tmp_path, "[project\n")).root == tmp_path


def test_what_travels_with_the_package_is_there_whatever_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "[[slots]]" in resources.virtual_rig().read_text()
    assert "2b04" in resources.udev_rules().read_text()
    assert (resources.folder("firmware") / "probe/twin.py").is_file()
    assert (resources.folder("rigs") / "example-bench.toml").is_file()


def test_an_installation_that_is_not_whole_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "hil")
    with pytest.raises(FileNotFoundError, match="not whole"):
        resources.folder("rigs")
    (tmp_path / "hil/rigs").mkdir(parents=True)
    assert resources.folder("rigs") == tmp_path / "hil/rigs"
