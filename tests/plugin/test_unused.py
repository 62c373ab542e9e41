"""The plugin in a repository that never asks for a board: it changes nothing, imports nothing heavy, and can be off."""

from __future__ import annotations

import pytest

LOADED = """
import sys

def test_loaded():
    names = {name.partition(".")[0] for name in sys.modules}
    heavy = {"pydantic", "usb", "pyudev", "serial", "starlette", "uvicorn", "cryptography", "paho", "click"}
    assert names & heavy == set()
    rooms = {name for name in sys.modules if name.startswith("hil.") and name.count(".") == 1}
    assert rooms <= {"hil.device", "hil.errors", "hil.observe", "hil.plugin", "hil.printable", "hil.report"}
    assert "allure" not in names
"""
OF_THEIR_OWN = """
import pytest

@pytest.fixture
def rig(): return "an oil rig"

@pytest.fixture
def board(rig): return f"the board of {rig}"

def test_fixture(board): assert board == "the board of an oil rig"

@pytest.mark.parametrize("board", ["chess", "go"])
def test_parameter(board): assert board in ("chess", "go")
"""


@pytest.fixture
def stranger(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A repository that has never heard of hil."""
    monkeypatch.delenv("HIL_RIG", raising=False)
    (pytester.path / "pyproject.toml").write_text("[project]\nname = 'stranger'\n")
    return pytester


def run(stranger: pytest.Pytester, *options: str) -> pytest.RunResult:
    return stranger.runpytest_subprocess("-p", "no:cacheprovider", *options)


def test_nothing_heavy_is_imported_and_nothing_written(stranger: pytest.Pytester) -> None:
    stranger.makepyfile(test_it=LOADED)
    run(stranger, "-p", "no:allure_pytest").assert_outcomes(passed=1)
    assert {path.name for path in stranger.path.iterdir()} & {"reports", ".hil"} == set()


def test_fixtures_and_parameters_that_are_called_the_same_are_left_alone(stranger: pytest.Pytester) -> None:
    stranger.makepyfile(test_it=OF_THEIR_OWN)
    run(stranger).assert_outcomes(passed=3)
    assert not (stranger.path / "reports").exists()


def test_one_option_switches_all_of_it_off(stranger: pytest.Pytester) -> None:
    stranger.makepyfile(test_it="def test_it(board): ...\n")
    result = run(stranger, "-p", "no:hil")
    result.assert_outcomes(errors=1)
    assert "fixture 'board' not found" in result.stdout.str()
    unknown = run(stranger, "-p", "no:hil", "--board", "argon")
    assert unknown.ret == pytest.ExitCode.USAGE_ERROR
    assert "unrecognized arguments: --board" in unknown.stderr.str()
    assert "@pytest.mark.board" not in run(stranger, "-p", "no:hil", "--markers").stdout.str()


def test_the_entry_point_alone_brings_fixtures_and_markers(stranger: pytest.Pytester) -> None:
    result = run(stranger, "--fixtures")
    for name in ("board", "boards", "peer", "cloud", "operations", "network", "firmware", "rig", "evidence"):
        result.stdout.re_match_lines([rf"{name}\b.* -- .*plugin/\w+\.py:\d+"])
    run(stranger, "--markers").stdout.fnmatch_lines(["@pytest.mark.board(*", "@pytest.mark.firmware(*"])
