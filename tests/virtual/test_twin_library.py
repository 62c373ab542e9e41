"""Where twins are found and what is said of those that cannot be loaded: by file, in folders of any repository."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hil.device.platforms import by_name
from hil.errors import UsageError
from hil.twin import Application
from hil.virtual.app.library import ApplicationLibrary, BrokenTwin, NoTwin
from hil.virtual.launch.images import build_images, releases

TWIN = """
from hil.twin import Application

class App(Application):
    WORD = {word!r}
"""


def write(folder: Path, name: str, text: str, file: str = "twin.py") -> Path:
    path = folder / name / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def word(library: ApplicationLibrary, name: str) -> object:
    found: object = vars(library.load(name))["WORD"]
    return found


def test_the_harness_brings_its_own() -> None:
    library = ApplicationLibrary()
    assert {"probe", "blinker"} <= set(library.names())
    assert library.load("probe").VERSIONS == (1, 2)
    assert library.load("blinker").VERSIONS == (1,)
    assert library.load("probe").SYSTEM_THREAD  # as probe.cpp declares


@pytest.mark.parametrize("name", ["green-house", "green_house", "Greenhouse2", "green.house", "json"])
def test_a_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    write(tmp_path, name, TWIN.format(word=name))
    library = ApplicationLibrary([tmp_path])
    assert name in library.names()
    assert word(library, name) == name


def test_folders_are_searched_in_order_and_the_harness_last(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    write(first, "greenhouse", TWIN.format(word="first"))
    write(second, "greenhouse", TWIN.format(word="second"))
    write(second, "probe", TWIN.format(word="own probe"))
    library = ApplicationLibrary([first, second])
    assert word(library, "greenhouse") == "first"
    assert word(library, "probe") == "own probe"
    assert word(ApplicationLibrary([second, first]), "greenhouse") == "second"


def test_twins_of_one_name_in_two_repositories_are_two(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for folder in (ours, theirs):
        write(folder, "greenhouse", TWIN.format(word="x") + "    from plants import COUNT\n")
        write(folder, "greenhouse", f"COUNT = {len(folder.name)}\n", "plants.py")
    one, two = (ApplicationLibrary([folder]).load("greenhouse") for folder in (ours, theirs))
    assert (vars(one)["COUNT"], vars(two)["COUNT"]) == (4, 6)
    assert one.__module__ != two.__module__


def test_loading_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    write(tmp_path, "greenhouse", "import plants, secrets\n" + TWIN.format(word=1))
    write(tmp_path, "greenhouse", "", "plants.py")
    path, modules = list(sys.path), {name for name in sys.modules if not name.startswith("_hil_twin_")}
    ApplicationLibrary([tmp_path]).load("greenhouse")
    assert sys.path == path
    assert "plants" not in sys.modules
    assert modules <= set(sys.modules)
    assert not list(tmp_path.rglob("__pycache__"))


def test_what_was_edited_is_loaded_anew_and_has_another_build(tmp_path: Path) -> None:
    write(tmp_path, "greenhouse", "import plants\n" + TWIN.format(word="w") + "    COUNT = plants.COUNT\n")
    write(tmp_path, "greenhouse", "COUNT = 1\n", "plants.py")
    library = ApplicationLibrary([tmp_path])
    first, build = library.load("greenhouse"), library.build_hash("greenhouse", 1)
    assert library.load("greenhouse") is first
    # The same size within the same second: a clock or a file size would not tell.
    write(tmp_path, "greenhouse", "COUNT = 2\n", "plants.py")
    assert vars(library.load("greenhouse"))["COUNT"] == 2
    assert library.build_hash("greenhouse", 1) != build
    assert library.build_hash("greenhouse", 1) != library.build_hash("greenhouse", 2)


@pytest.mark.parametrize("name", ["nothing", "../probe", "", "probe/..", ".", "..", "probe.twin"])
def test_other_names_are_the_callers_mistake(tmp_path: Path, name: str) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    with pytest.raises(NoTwin) as caught:
        ApplicationLibrary([inner]).load(name)
    assert str(inner) in caught.value.found


def test_a_folder_that_is_not_there_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="firmwre"):
        ApplicationLibrary([tmp_path / "firmwre"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\ndef broken(:\n", "twin.py:2: SyntaxError"),
        ("x = 1\n\nimport nosuchmodule\n", "twin.py:3: ModuleNotFoundError"),
        ("import plants\n", "plants.py:2: ZeroDivisionError"),
        ("App = 3\n", "App = 3"),
        ("class Ap: ...\n", "no name App"),
        (TWIN.format(word="w") + "    VERSIONS = 2\n", "2"),
        (TWIN.format(word="w") + "    VERSIONS = ()\n", "()"),
        (TWIN.format(word="w") + "    SYSTEM_MODE = 'sometimes'\n", "'sometimes'"),
    ],
)
def test_a_broken_twin_is_named_with_file_and_line(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path, "greenhouse", text)
    write(tmp_path, "greenhouse", "\n1 / 0\n", "plants.py")
    with pytest.raises(BrokenTwin) as caught:
        ApplicationLibrary([tmp_path]).load("greenhouse")
    assert isinstance(caught.value, UsageError)
    assert said in caught.value.found
    assert str(path) in str(caught.value) or "plants.py" in str(caught.value)


# -- images --------------------------------------------------------------------------------------------


def test_images_are_built_of_what_is_there_for_the_boards_that_are_there(tmp_path: Path) -> None:
    write(tmp_path / "firmware", "green-house", TWIN.format(word="w") + "    VERSIONS = (1, 7)\n")
    library = ApplicationLibrary([tmp_path / "firmware"])
    assert {(each.application, each.version) for each in releases(library)} == {
        *(("green-house", 1), ("green-house", 7)),
        *(("probe", 1), ("probe", 2), ("blinker", 1)),
    }
    out = tmp_path / "images"
    paths = build_images(out, library, [(by_name("argon"), "6.2.0"), (by_name("p1"), "2.3.1")])
    assert {str(path.relative_to(out)) for path in paths} == {
        f"{name}/{platform}.bin"
        for name in ("green-house@1", "green-house@7", "probe@1", "probe@2", "blinker@1")
        for platform in ("argon", "p1")
    }
    kept = {path: path.stat().st_mtime_ns for path in paths}
    write(tmp_path / "firmware", "green-house", "# a module of its own\n", "plants.py")
    assert build_images(out, library, [(by_name("argon"), "6.2.0")])
    changed = {path for path in paths if path.stat().st_mtime_ns != kept[path]}
    assert {str(path.relative_to(out)) for path in changed} == {
        "green-house@1/argon.bin",
        "green-house@7/argon.bin",
    }


def test_two_releases_of_one_platform_get_what_runs_on_both(tmp_path: Path) -> None:
    argon = by_name("argon")
    both = [(argon, "6.2.0"), (argon, "2.3.1")]
    path = build_images(tmp_path / "both", ApplicationLibrary(), both)[0]
    old = build_images(tmp_path / "old", ApplicationLibrary(), [(argon, "2.3.1")])[0]
    assert path.read_bytes() == old.read_bytes()


def test_the_public_names_are_the_ones_behind_them() -> None:
    from hil.virtual.app import wiring

    assert Application is wiring.Application
