"""Clocks in several processes that move as one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from hil.clock import ClockError, MovableClock, SystemClock
from hil.clock.client import ClockClient, Follower, clock_of_run
from hil.clock.server import ClockServer
from hil.clock.types import CLOCK_VARIABLE
from tests.clock.standing import standing_clock

SCRIPT = Path(__file__).with_name("follower_process.py")
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def leader(tmp_path: Path) -> Iterator[ClockServer]:
    server = ClockServer(standing_clock(), tmp_path / "clock.sock")
    yield server
    server.close()


@pytest.fixture
def start(leader: ClockServer) -> Iterator[Start]:
    """Starts a following process with timers, and waits until it follows."""
    with ExitStack() as stack:

        def start(*delays: str) -> subprocess.Popen[str]:
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, str(SCRIPT), str(leader.path), *delays],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            assert said(process).startswith("follows")
            return process

        yield start


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def ended(process: subprocess.Popen[str]) -> list[str]:
    """Let it end; what it said since."""
    return process.communicate()[0].splitlines()


def test_an_advance_fires_what_is_due_in_another_process_before_it_returns(
    leader: ClockServer, start: Start
) -> None:
    process = start("5", "60", "3600")
    assert leader.clock.advance(60.0).fired == 2
    assert [said(process), said(process)] == ["5 5.000", "60 60.000"]
    assert ended(process) == []


def test_timers_of_several_processes_fire_in_one_order(leader: ClockServer, start: Start) -> None:
    start("20"), start("10", "30")
    order: list[float] = []
    began = leader.clock.monotonic()
    for delay in (5.0, 15.0, 25.0):
        leader.clock.call_later(delay, lambda: order.append(leader.clock.monotonic() - began))
    assert leader.clock.advance(30.0).fired == 6
    assert order == [5.0, 15.0, 25.0]


def test_a_process_that_comes_later_shows_the_time_of_the_others(leader: ClockServer) -> None:
    leader.clock.advance(86_400.0)
    follower = Follower(leader.path, "late")
    assert follower.clock.monotonic() == leader.clock.monotonic()
    assert follower.clock.time() == leader.clock.time()
    follower.close()


def test_a_follower_that_dies_on_the_way_is_named_and_left_behind(leader: ClockServer, start: Start) -> None:
    dying, living = start("x10"), start("20")
    done = leader.clock.advance(30.0)
    assert done.lost == (f"follower (process {dying.pid}) has ended",)
    assert said(living) == "20 20.000"
    assert leader.clock.parts.names == [f"follower (process {living.pid})"]


def test_a_follower_that_ends_by_itself_is_forgotten(leader: ClockServer, start: Start) -> None:
    process = start("10")
    ended(process)
    assert leader.wait_followers(0, 10.0)
    assert leader.clock.advance(10.0).lost == ()


def test_a_follower_that_does_not_answer_is_an_error_that_names_it(tmp_path: Path) -> None:
    server = ClockServer(standing_clock(), tmp_path / "clock.sock", answer_within=0.1)
    with socket.socket(socket.AF_UNIX) as mute:
        mute.connect(str(server.path))
        mute.sendall(b'{"do": "follow", "name": "the mute one"}\n')
        assert server.wait_followers(1, 10.0)
        with pytest.raises(ClockError, match="the mute one no longer follows: no answer within"):
            server.clock.advance(1.0)
        assert server.clock.advance(1.0).lost == ()
    server.close()


@pytest.mark.parametrize("answer", [b'{"ok": true}\n', b"nonsense\n", b'{"ok": true, "at": "soon"}\n'])
def test_a_follower_that_answers_nonsense_is_left_behind(leader: ClockServer, answer: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as odd, odd.makefile("rb") as stream:
        odd.connect(str(leader.path))
        odd.sendall(b'{"do": "follow", "name": "odd"}\n')
        assert b'"ok": true' in stream.readline()
        assert leader.wait_followers(1, 10.0)
        odd.sendall(answer)
        with pytest.raises(ClockError, match="odd no longer follows"):
            leader.clock.advance(1.0)


def test_a_follower_goes_on_at_real_pace_when_its_leader_is_gone(
    leader: ClockServer, caplog: pytest.LogCaptureFixture
) -> None:
    follower = Follower(leader.path, "orphan")
    rings = threading.Event()
    leader.clock.advance(3600.0)
    before = follower.clock.monotonic()
    follower.clock.call_later(0.01, rings.set)
    leader.close()
    assert rings.wait(10.0)
    assert before < follower.clock.monotonic() < before + 60.0
    follower.close()
    assert "goes on at real pace" in caplog.text


def test_the_clock_can_be_moved_by_hand_from_another_process(leader: ClockServer, start: Start) -> None:
    process = start("120")
    before = leader.clock.monotonic()
    with ClockClient(leader.path) as client:
        assert client.advance(minutes=1, seconds=60).fired == 1
        shown = client.show()
        assert shown.followers == (f"follower (process {process.pid})",)
        assert (shown.stands, shown.time) == (True, leader.clock.time())
    assert leader.clock.monotonic() == before + 120.0
    assert said(process) == "120 120.000"


def test_a_wrong_request_is_answered_and_the_connection_goes_on(leader: ClockServer) -> None:
    with socket.socket(socket.AF_UNIX) as client, client.makefile("rb") as stream:
        client.connect(str(leader.path))
        client.sendall(b'{"do": "advance", "seconds": -1}\n{"do": "show"}\n')
        assert b"wrong seconds" in stream.readline()
        assert b'"followers": []' in stream.readline()


def test_the_socket_is_for_its_owner_alone(leader: ClockServer) -> None:
    assert leader.path.stat().st_mode & 0o777 == 0o600
    assert leader.path.stat().st_uid == os.getuid()


def test_a_second_leader_on_the_same_socket_is_refused(leader: ClockServer) -> None:
    with pytest.raises(ClockError, match="another clock answers"):
        ClockServer(MovableClock(), leader.path)


def test_a_process_follows_what_its_environment_names(
    leader: ClockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CLOCK_VARIABLE, str(leader.path))
    with clock_of_run("this test") as clock:
        before = clock.monotonic()
        leader.clock.advance(5.0)
        assert clock.monotonic() == before + 5.0
    monkeypatch.delenv(CLOCK_VARIABLE)
    with clock_of_run("this test") as clock:
        assert isinstance(clock, SystemClock)


def test_followers_keep_the_same_time_however_often_the_clock_is_moved(tmp_path: Path) -> None:
    """What it takes to tell them must not add up."""
    clock = MovableClock()
    server = ClockServer(clock, tmp_path / "clock.sock")
    follower = Follower(server.path, "follower")
    for _ in range(50):
        clock.advance(0.001)
    times = [clock.monotonic(), follower.clock.monotonic(), clock.monotonic()]
    follower.close()
    server.close()
    assert times == sorted(times)


def test_nobody_on_the_socket_is_said_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ClockError, match="hil rack run --clock"):
        ClockClient(tmp_path / "none.sock")
