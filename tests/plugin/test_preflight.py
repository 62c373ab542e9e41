"""A run whose rig is not here is told so once, with the command that works, before anything is touched."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ELSEWHERE = "203.0.113.7"  # reserved for documentation, so no machine has it (RFC 5737)
RIG = f"""
name = "bench"
[cloud]
host = "{ELSEWHERE}"
[[slots]]
name = "A1"
port = "1-1"
platform = "argon"
device_os = "6.2.0"
"""
RACK = RIG.replace("[[slots]]", '[network]\nkind = "service"\n[[slots]]')
BENCH = RACK.replace('"service"', '"service"\nsocket = "network.sock"')
TESTS = """
def test_one(board): ...
def test_two(board): ...
def test_without(): ...
"""
PASSED, CANNOT_RUN = 0, 3


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder with three tests, outside of any rack."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for name in ("HIL_RIG", "HIL_NETWORK", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)
    shutil.copy(ROOT / "conftest.py", pytester.path)
    (pytester.path / "pyproject.toml").write_text("[tool.hil]\n")
    pytester.makepyfile(test_it=TESTS)
    return pytester


def run(project: pytest.Pytester, *arguments: str, rig: str = "", status: int = CANNOT_RUN) -> str:
    """What a run with these arguments says, of which ``rig`` is the rig file if there is one."""
    if rig:
        (project.path / "rig.toml").write_text(rig)
        arguments = ("--rig", "rig.toml", *arguments)
    done = project.run(sys.executable, "-m", "pytest", *arguments)
    said = done.stdout.str() + done.stderr.str()
    assert done.ret == status, said
    for noise in ("Traceback", "INTERNALERROR", "Exit", "error"):
        assert noise not in said
    return said


def test_without_a_rig_of_ones_own_the_rack_is_the_way(project: pytest.Pytester) -> None:
    said = run(project, "test_it.py", "-k", "one or two")
    assert said.count("is not here") == 1
    assert (
        "rig virtual is not here: its cloud listens on 198.18.0.2, which is no address of this machine"
        in said
    )
    assert "hil rack run -- pytest test_it.py -k 'one or two'\n" in said
    assert "[cloud]" not in said
    assert "no tests ran" in said or "deselected" in said


def test_a_team_s_rig_of_the_rack_is_told_both_ways(project: pytest.Pytester) -> None:
    said = run(project, rig=RACK)
    assert said.count("is not here") == 1
    assert "hil rack run --rig rig.toml -- pytest --rig rig.toml\n" in said
    assert f"on a bench, host of [cloud] in {project.path}/rig.toml" in said


@pytest.mark.parametrize("rig", [RIG, BENCH])
def test_a_bench_with_another_address_is_told_the_key(project: pytest.Pytester, rig: str) -> None:
    said = run(project, rig=rig)
    assert f"its cloud listens on {ELSEWHERE}, which is no address of this machine" in said
    assert f"expected: host of [cloud] in {project.path}/rig.toml" in said
    assert "127.0.0.1" in said
    assert "hil rack run" not in said


@pytest.mark.parametrize("harmless", [("--collect-only",), ("-k", "without")])
def test_a_run_that_needs_no_board_needs_no_rig(project: pytest.Pytester, harmless: tuple[str, ...]) -> None:
    assert "is not here" not in run(project, *harmless, rig=RACK, status=PASSED)
