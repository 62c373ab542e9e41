"""Where a run keeps its reports and the cloud's state: below the root of the project, whatever the directory."""

from __future__ import annotations

from pathlib import Path

import pytest

SHOW = """
from hil.plugin.places import cloud_state_of, reports_of

def test_show(request):
    print("places", reports_of(request.config), cloud_state_of(request.config))
"""


@pytest.fixture
def team(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    (pytester.path / "pyproject.toml").write_text("[tool.hil]\n")
    (pytester.path / "suites").mkdir()
    (pytester.path / "suites/test_show.py").write_text(SHOW)
    return pytester


def run(team: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    plugins = ("-p", "hil.plugin.options", "-p", "hil.plugin.reporting", "-p", "no:cacheprovider")
    return team.runpytest_subprocess(*plugins, "-s", *arguments)


def test_places_are_those_of_the_project(team: pytest.Pytester) -> None:
    root = team.path
    (root / "elsewhere").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root / "elsewhere")
        outcome = run(team, str(root / "suites"))
    assert f"places {root}/reports {root}/.hil/cloud" in outcome.stdout.str()
    assert (root / "reports/allure-results").is_dir()
    assert (root / "reports/summary.json").is_file()
    assert list((root / "elsewhere").iterdir()) == []


def test_the_command_line_has_the_last_word(team: pytest.Pytester) -> None:
    outcome = run(team, "suites", "--reports", "out", "--cloud-state", "/srv/cloud")
    assert "places out /srv/cloud" in outcome.stdout.str()
    assert (team.path / "out/summary.json").is_file()


def test_reports_that_cannot_be_written_are_told_before_the_first_test(team: pytest.Pytester) -> None:
    (team.path / "file").touch()
    outcome = run(team, "suites", "--reports", "file/reports")
    assert outcome.ret == pytest.ExitCode.USAGE_ERROR
    said = [line for line in outcome.stderr.lines if "reports" in line]
    assert said == [
        "ERROR: cannot write reports to file/reports (Not a directory): name another folder with --reports"
    ]
    assert "places" not in outcome.stdout.str()
