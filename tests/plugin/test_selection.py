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
[[slots]]
name = "P1"
port = "1-3"
platform = "photon"
device_os = "2.3.1"
"""

TESTS = """
import pytest

def test_everywhere(board): ...

@pytest.mark.board("argon", "boron")
def test_some(board): ...

@pytest.mark.board("boron")
def test_none_here(board): ...

def test_without_a_board(): ...
"""

BOARD = "import pytest\n@pytest.fixture\ndef board(request): return request.param\n"


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.delenv("HIL_RIG", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    pytester.path.joinpath("rig.toml").write_text(RIG)
    pytester.makepyfile(test_it=TESTS)
    pytester.makeconftest(BOARD)
    return pytester


def _collect(project: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    plugins = ("-p", "hil.plugin.options", "-p", "hil.plugin.selection", "-p", "no:cacheprovider")
    return project.runpytest_subprocess(*plugins, "--rig", "rig.toml", *arguments)


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
    result.stdout.fnmatch_lines(["*needs one of boron; rig bench has argon, photon*"])


@pytest.mark.parametrize("name", ["photon", "P1"])
def test_board_takes_platforms_and_slots(project: pytest.Pytester, name: str) -> None:
    result = _collect(project, "--collect-only", "-q", "--board", name)
    assert _ids(result) == ["test_everywhere[photon]", "test_without_a_board"]


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
    assert result.ret != pytest.ExitCode.OK
    text = "\n".join((*result.outlines, *result.errlines))
    assert "rig bench has no such board; it has A1 (argon), A2 (argon), P1 (photon)" in text


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
