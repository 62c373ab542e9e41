"""Which items a test becomes: one for each platform of the rig, whatever boards there are."""

from __future__ import annotations

from pathlib import Path

import pytest

RIG = """
name = "bench"
[cloud]
host = "127.0.0.1"
[[slots]]
name = "A1"
port = "1-1"
platform = "argon"
device_os = "6.2.0"
[[slots]]
name = "A2"
port = "1-2"
platform = "argon"
device_os = "6.2.0"
features = ["sim", "ethernet"]
[[slots]]
name = "P1"
port = "1-3"
platform = "photon"
device_os = "2.3.1"
"""

HAVE = "rig bench has A1 (argon), A2 (argon with sim, ethernet), P1 (photon)"

TESTS = """
import pytest

def test_everywhere(board): ...

@pytest.mark.board("argon", "boron")
def test_some(board): ...

@pytest.mark.board("boron")
def test_none_here(board): ...

def test_without_a_board(): ...
"""

# Instead of a board: the slots it may be taken from, and what would be flashed.
BOARD = """
import pytest
from hil.plugin.selection import candidates, companions, need

@pytest.fixture
def rig(): ...

@pytest.fixture
def board(request, rig, evidence):
    slots = candidates(request.config, request.param, need(request.node))
    print("\\nslots:", request.node.name, *slots)
    print("application:", request.node.name, need(request.node).application)
    if slots:
        platform = "argon" if slots[0].startswith("A") else "photon"
        print("beside:", request.node.name, *companions(request.config, platform, slots[0], need(request.node)))
    return request.param

@pytest.fixture
def boards(board): return [board]
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.delenv("HIL_RIG", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    pytester.path.joinpath("rig.toml").write_text(RIG)
    pytester.makepyfile(test_it=TESTS)
    pytester.makeconftest(BOARD)
    return pytester


def _collect(project: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return project.runpytest_subprocess("-p", "no:cacheprovider", "--rig", "rig.toml", *arguments)


def _ids(result: pytest.RunResult) -> list[str]:
    return [line.split("::")[1] for line in result.outlines if "::" in line and line.startswith("test_it")]


def test_one_item_for_each_platform_and_not_for_each_board(project: pytest.Pytester) -> None:
    result = _collect(project, "--collect-only", "-q")
    assert _ids(result) == [
        "test_everywhere[argon]",
        "test_everywhere[photon]",
        "test_some[argon]",
        "test_none_here[none]",
        "test_without_a_board",
    ]


def test_a_test_for_boards_that_the_rig_lacks_is_skipped_with_the_reason(project: pytest.Pytester) -> None:
    result = _collect(project, "-rs", "-k", "none_here")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(
        ["*needs one of boron; rig bench has A1 (argon), A2 (argon with sim, ethernet), P1 (photon)*"]
    )


@pytest.mark.parametrize("name", ["photon", "P1"])
def test_board_takes_platforms_and_slots(project: pytest.Pytester, name: str) -> None:
    result = _collect(project, "--collect-only", "-q", "--board", name)
    assert _ids(result) == ["test_everywhere[photon]", "test_without_a_board"]


def _told(result: pytest.RunResult, what: str) -> dict[str, str]:
    """What the stand-in for ``board`` printed, by item."""
    lines = [line.split(maxsplit=2) for line in result.outlines if line.startswith(f"{what}: ")]
    return {words[1]: words[2] if len(words) > 2 else "" for words in lines}


@pytest.mark.parametrize("slot", ["A1", "A2"])
def test_a_slot_means_that_slot_and_not_its_twin(project: pytest.Pytester, slot: str) -> None:
    result = _collect(project, "-s", "--board", slot)
    assert _told(result, "slots") == {"test_everywhere[argon]": slot, "test_some[argon]": slot}


def test_a_platform_means_all_its_boards(project: pytest.Pytester) -> None:
    assert _told(_collect(project, "-s", "--board", "argon"), "slots")["test_everywhere[argon]"] == "A1 A2"


def test_a_slot_called_like_a_platform_is_that_slot(project: pytest.Pytester) -> None:
    rig = project.path / "rig.toml"
    rig.write_text(rig.read_text().replace('"A2"', '"argon"'))
    assert _told(_collect(project, "-s", "--board", "argon"), "slots")["test_everywhere[argon]"] == "argon"


def test_each_board_runs_every_test_on_every_board(project: pytest.Pytester) -> None:
    result = _collect(project, "-s", "--each-board")
    assert _told(result, "slots") == {
        "test_everywhere[A1]": "A1",
        "test_everywhere[A2]": "A2",
        "test_everywhere[P1]": "P1",
        "test_some[A1]": "A1",
        "test_some[A2]": "A2",
    }


MARKED = """
import pytest

@pytest.mark.board("argon", features={"sim"})
def test_sim(board): ...

@pytest.mark.board(features={"sim", "lora"})
def test_lora(board): ...

@pytest.mark.board("argon", "photon", count=2)
def test_pair(boards): ...

@pytest.mark.board("photon", count=2)
def test_photons(boards): ...
"""


def test_features_and_counts_choose_boards_or_say_what_the_rig_has(project: pytest.Pytester) -> None:
    project.makepyfile(test_it=MARKED)
    result = _collect(project, "-s", "-rs")
    assert _told(result, "slots") == {"test_sim[argon]": "A2", "test_pair[argon]": "A1 A2"}
    result.assert_outcomes(passed=2, skipped=2)
    result.stdout.fnmatch_lines_random(
        [
            f"*needs a board with lora, sim; {HAVE}*",
            f"*needs 2 boards of one platform (photon); {HAVE}*",
        ]
    )


def test_with_a_slot_named_the_others_of_its_platform_still_count(project: pytest.Pytester) -> None:
    project.makepyfile(test_it=MARKED)
    assert _told(_collect(project, "-s", "--board", "A1"), "slots") == {"test_pair[argon]": "A1"}


def test_a_second_board_is_of_another_platform_first_and_of_the_same_when_asked(
    project: pytest.Pytester,
) -> None:
    assert _told(_collect(project, "-s"), "beside")["test_everywhere[argon]"] == "P1 A2"
    project.makepyfile(test_it=MARKED)
    assert _told(_collect(project, "-s"), "beside")["test_pair[argon]"] == "A2"


@pytest.mark.parametrize(
    ("marker", "told"),
    [
        ('"greenhouse", version=2', "greenhouse version 2"),
        ('"greenhouse", 2', "greenhouse version 2"),
        ('"greenhouse@2"', "greenhouse version 2"),
        ('"greenhouse"', "greenhouse"),
        ("None", "None"),
    ],
)
def test_the_firmware_marker_names_application_and_version(
    project: pytest.Pytester, marker: str, told: str
) -> None:
    project.makepyfile(test_it=f"import pytest\n@pytest.mark.firmware({marker})\ndef test_it(board): ...\n")
    result = _collect(project, "-s", "--app", "probe@1", "--board", "A1")
    assert _told(result, "application") == {"test_it[argon]": told}


def test_without_a_marker_the_run_or_the_project_says_what_runs(project: pytest.Pytester) -> None:
    def told(*arguments: str) -> str:
        result = _collect(project, "-s", "--board", "A1", *arguments)
        return _told(result, "application")["test_everywhere[argon]"]

    assert told() == "None"
    assert told("--app", "probe@1") == "probe version 1"
    (project.path / "pyproject.toml").write_text('[tool.hil]\napp = "greenhouse"\n')
    assert told() == "greenhouse"


@pytest.mark.parametrize(
    ("marker", "why"),
    [
        ("board('argon', feature={'sim'})", "marker board has no 'feature'; it has features and count"),
        ("board(count=0)", "count is how many boards the test needs, from 1 on, not 0"),
        ("board(features=3)", 'features is a set of words, such as {"sim"}, not 3'),
        ("firmware()", "marker firmware takes a name and a version"),
        ("firmware('probe', 1, 2)", "marker firmware takes a name and a version"),
    ],
)
def test_a_marker_that_cannot_be_meant_is_one_line(project: pytest.Pytester, marker: str, why: str) -> None:
    project.makepyfile(test_it=f"import pytest\n@pytest.mark.{marker}\ndef test_it(board): ...\n")
    result = _collect(project)
    text = "\n".join((*result.outlines, *result.errlines))
    assert result.ret != pytest.ExitCode.OK
    assert f"test_it.py::test_it: {why}" in text
    assert "Traceback" not in text


def test_a_board_of_the_repository_s_own_is_left_alone(project: pytest.Pytester) -> None:
    project.makeconftest(
        "import pytest\n"
        "@pytest.fixture(params=['chess', 'go'])\ndef board(request): return request.param\n"
        "@pytest.fixture(params=[1, 2])\ndef boards(request): return request.param\n"
    )
    project.makepyfile(test_it="def test_it(board): ...\ndef test_them(boards): ...\n")
    assert _ids(_collect(project, "--collect-only", "-q")) == [
        "test_it[chess]",
        "test_it[go]",
        "test_them[1]",
        "test_them[2]",
    ]


def test_tests_that_change_the_firmware_come_last(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_it="""
        import pytest
        @pytest.mark.firmware("probe")
        def test_first(): ...
        def test_second(): ...
        """
    )
    assert _ids(_collect(project, "--collect-only", "-q")) == ["test_second", "test_first"]


def test_an_unknown_board_is_a_usage_error_that_names_the_known_ones(project: pytest.Pytester) -> None:
    result = _collect(project, "--board", "xenon")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    text = "\n".join((*result.outlines, *result.errlines))
    assert "--board xenon: rig bench has no such board" in text
    assert "A1 (argon), A2 (argon), P1 (photon)" in text
    assert "Traceback" not in text


def test_a_marker_with_a_misspelt_platform_is_refused(project: pytest.Pytester) -> None:
    project.makepyfile(test_typo="import pytest\n@pytest.mark.board('argno')\ndef test_it(board): ...\n")
    result = _collect(project, "test_typo.py")
    text = "\n".join((*result.outlines, *result.errlines))
    assert "no platform 'argno'" in text


def test_a_missing_rig_file_says_what_to_do(project: pytest.Pytester) -> None:
    project.path.joinpath("rig.toml").unlink()
    result = _collect(project)
    text = "\n".join((*result.outlines, *result.errlines))
    assert "Traceback" not in text
    assert "no rig file rig.toml" in text
    assert "--rig" in text
