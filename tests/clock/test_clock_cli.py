"""``hil clock`` and ``hil cloud --clock`` as a user runs them."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

import httpx
import pytest
from click.testing import CliRunner

from hil.cli.main import main
from hil.clock.server import ClockServer
from hil.clock.types import CLOCK_VARIABLE
from tests.clock.standing import standing_clock

REPOSITORY = Path(__file__).parents[2]
CLOUD = [sys.executable, "-m", "hil.cli.main", "cloud", "--tcp-port", "0", "--udp-port", "0"]


def read_until(stream: IO[str] | None, wanted: str) -> str:
    assert stream is not None
    seen = ""
    for line in stream:
        seen += line
        if wanted in line:
            return seen
    raise AssertionError(f"{wanted!r} never came; there was:\n{seen}")


def hil(*arguments: str, **environment: str | None) -> str:
    """What a command that succeeds prints."""
    result = CliRunner().invoke(main, arguments, env=environment)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_clouds_tokens_end_when_its_clock_is_moved_90_days_by_hand(tmp_path: Path) -> None:
    arguments = [*CLOUD, "--state", str(tmp_path), "--http-port", "0", "--password", "secret", "--clock"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as process:
        banner = read_until(process.stdout, "clock")
        url = re.search(r"http://127\.0\.0\.1:\d+", banner)
        path = re.search(rf"{CLOCK_VARIABLE}=(.*)", banner)
        assert url
        assert path
        form = {"grant_type": "password", "username": "hil", "password": "secret"}
        token = httpx.post(f"{url[0]}/oauth/token", data=form).json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        hil("clock", "advance", "89d", HIL_CLOCK=path[1])
        assert httpx.get(f"{url[0]}/v1/user", headers=headers).status_code == 200
        hil("clock", "advance", "--socket", path[1], "1d")
        ended = httpx.get(f"{url[0]}/v1/user", headers=headers)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    assert (ended.status_code, ended.json()["error"]) == (401, "expired_token")
    assert not Path(path[1]).exists()


def test_a_cloud_follows_the_clock_that_its_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = standing_clock()
    server = ClockServer(clock, tmp_path / "clock.sock")
    monkeypatch.setenv(CLOCK_VARIABLE, str(server.path))
    arguments = [*CLOUD, "--state", str(tmp_path / "state"), "--no-http"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as process:
        read_until(process.stdout, "devices")
        assert f"followed by cloud (process {process.pid})" in hil("clock", "show")
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    assert server.wait_followers(0, 10.0)
    server.close()


def test_showing_and_moving(tmp_path: Path) -> None:
    clock = standing_clock()
    server = ClockServer(clock, tmp_path / "clock.sock")
    clock.call_later(60.0, lambda: None)
    before = clock.monotonic()
    assert hil("clock", "show", HIL_CLOCK=str(server.path)).endswith("+00:00, stands still\n")
    moved = hil("clock", "advance", "1h30m", HIL_CLOCK=str(server.path))
    assert moved.endswith("1 timers fired on the way\n")
    assert clock.monotonic() == before + 5400.0
    server.close()


@pytest.mark.parametrize(
    ("arguments", "status", "what"),
    [
        (["clock", "show"], 2, "which clock?"),
        (["clock", "show", "--socket", "nowhere.sock"], 1, "no clock on nowhere.sock"),
        (["cloud", "--clock", "--state", "x"], 2, "cannot both lead a clock and follow one"),
    ],
)
def test_mistakes_are_said_in_words(
    arguments: list[str], status: int, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    named = "other.sock" if arguments[0] == "cloud" else None
    result = CliRunner().invoke(main, arguments, env={CLOCK_VARIABLE: named})
    assert result.exit_code == status
    assert what in result.output


def test_a_wrong_duration_moves_nothing(tmp_path: Path) -> None:
    clock = standing_clock()
    server = ClockServer(clock, tmp_path / "clock.sock")
    before = clock.monotonic()
    result = CliRunner().invoke(main, ["clock", "advance", "soon"], env={CLOCK_VARIABLE: str(server.path)})
    assert (result.exit_code, clock.monotonic()) == (2, before)
    assert "90s, 15m, 2d" in result.output
    server.close()
