"""What a run about boards leaves behind, and where: below the root of the project, whatever the directories are called.

The tests ask for a board that the rig lacks: they are skipped before any rig is opened.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

RIG = """
name = "desk"
[cloud]
host = "127.0.0.1"
[[slots]]
name = "P1"
port = "1-1"
platform = "photon"
device_os = "2.3.1"
"""
SHOW = """
import pytest
from hil.plugin.places import cloud_state_of, reports_of

def test_show(request):
    print("places", reports_of(request.config), cloud_state_of(request.config))

@pytest.mark.board("boron")
def test_board(board): ...
"""


@pytest.fixture
def team(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.delenv("HIL_RIG", raising=False)
    (pytester.path / "pyproject.toml").write_text('[tool.hil]\nrig = "rig.toml"\n')
    (pytester.path / "rig.toml").write_text(RIG)
    (pytester.path / "checks").mkdir()
    (pytester.path / "checks/test_show.py").write_text(SHOW)
    return pytester


def run(team: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return team.runpytest_subprocess("-p", "no:cacheprovider", "-s", *arguments)


def results(folder: Path) -> list[str]:
    """The tests that Allure's results tell of."""
    return sorted(json.loads(path.read_text())["name"] for path in folder.glob("*-result.json"))


def test_a_run_about_boards_leaves_results_and_a_summary_below_the_project(team: pytest.Pytester) -> None:
    root = team.path
    (root / "elsewhere").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root / "elsewhere")
        outcome = run(team, str(root / "checks"))
    assert f"places {root}/reports {root}/.hil/cloud" in outcome.stdout.str()
    assert results(root / "reports/allure-results") == ["test_board[none]", "test_show"]
    assert "rig=desk" in (root / "reports/allure-results/environment.properties").read_text()
    summary = json.loads((root / "reports/summary.json").read_text())
    assert (summary["tests"]["passed"], summary["tests"]["skipped"]) == (1, 1)
    assert list((root / "elsewhere").iterdir()) == []


def test_the_command_line_has_the_last_word(team: pytest.Pytester) -> None:
    outcome = run(team, "--reports", "out", "--cloud-state", "/srv/cloud", "--alluredir", "mine")
    assert "places out /srv/cloud" in outcome.stdout.str()
    assert (team.path / "out/summary.json").is_file()
    assert results(team.path / "mine") == ["test_board[none]", "test_show"]
    assert (team.path / "mine/environment.properties").is_file()
    assert not (team.path / "out/allure-results").exists()


@pytest.mark.parametrize("words", [["-k", "not board"], ["--collect-only"]])
def test_a_run_without_a_board_leaves_nothing(team: pytest.Pytester, words: list[str]) -> None:
    assert run(team, *words).ret == pytest.ExitCode.OK
    assert {path.name for path in team.path.iterdir()} & {"reports", ".hil"} == set()


def test_results_of_the_run_before_are_gone(team: pytest.Pytester) -> None:
    run(team)
    run(team, "-k", "test_board")
    assert results(team.path / "reports/allure-results") == ["test_board[none]"]


def test_without_allure_pytest_there_is_still_a_summary(team: pytest.Pytester) -> None:
    outcome = run(team, "-p", "no:allure_pytest")
    outcome.assert_outcomes(passed=1, skipped=1)
    assert [path.name for path in (team.path / "reports").iterdir()] == ["summary.json"]


def test_reports_that_cannot_be_written_are_told_before_the_first_test(team: pytest.Pytester) -> None:
    (team.path / "file").touch()
    outcome = run(team, "--reports", "file/reports")
    assert outcome.ret == pytest.ExitCode.USAGE_ERROR
    said = [line for line in outcome.stderr.lines if "reports" in line]
    assert said == [
        "ERROR: cannot write reports to file/reports (Not a directory): name another folder with --reports"
    ]
    assert "places" not in outcome.stdout.str()
