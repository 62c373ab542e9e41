"""pytest-xdist and boards: one line that says what to do, never a traceback; tests without boards are free."""

from __future__ import annotations

from pathlib import Path

import pytest

WORDS = "boards under pytest-xdist are not supported yet: run without -n"


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.delenv("HIL_RIG", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    pytester.makepyfile(test_it="def test_it(): ...\n")
    return pytester


def test_a_run_about_boards_is_refused_in_one_line(project: pytest.Pytester) -> None:
    result = project.runpytest_subprocess("-n", "2", "--board", "argon")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert [line for line in result.errlines if line.strip()] == [
        f"ERROR: hil: {WORDS} (tests without boards: -n with -p no:hil)"
    ]


def test_tests_without_boards_run_in_parallel_as_ever(project: pytest.Pytester) -> None:
    project.runpytest_subprocess("-n", "2").assert_outcomes(passed=1)


def test_a_board_in_a_worker_is_one_line_too(project: pytest.Pytester) -> None:
    project.makepyfile(test_it="def test_it(board): ...\n")
    result = project.runpytest_subprocess("-n", "1")
    assert result.ret != pytest.ExitCode.OK
    text = "\n".join((*result.outlines, *result.errlines))
    assert WORDS in text
    assert "Traceback" not in text
