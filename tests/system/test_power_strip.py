"""The rack's power strip, its protocol and its command, and how boards start in each mode."""

from __future__ import annotations

import json
import re
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hil.errors import RigError, UsageError
from hil.virtual.launch.powerstrip import ACTIONS, VARIABLE, PowerStrip, switch
from tests.system import racks

NOT_A_REQUEST = "a request is a JSON object with members do and port"


class Plug:
    """A board that notes what is done to it."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def power_on(self) -> None:
        self.done.append("on")

    def power_off(self) -> None:
        self.done.append("off")

    def press_reset(self) -> None:
        self.done.append("reset")


class Broken(Plug):
    def power_off(self) -> None:
        raise RuntimeError("the plug is stuck")


@pytest.fixture
def plugs() -> dict[str, Plug]:
    return {"1-1": Plug(), "1-2": Plug()}


@pytest.fixture
def strip(tmp_path: Path, plugs: dict[str, Plug], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "power.sock"
    strip = PowerStrip(path, plugs)
    monkeypatch.setenv(VARIABLE, str(path))
    yield path
    strip.close()


@pytest.fixture
def ask(strip: Path) -> Callable[[bytes], Any]:
    """Sends bytes as they are; returns the answer's text."""

    def call(request: bytes) -> Any:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(racks.PATIENCE)
            connection.connect(str(strip))
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            return json.loads(connection.recv(4096))["error"]

    return call


@pytest.mark.parametrize(
    "request_",
    [b"", b"\xff\xfe", b"{", b"[]", b"7", b"null", b'"off 1-1"', b"{}", b'{"do": "off"}', b'{"port": "1-1"}'],
)
def test_garbage_is_answered_and_the_next_request_served(
    ask: Callable[[bytes], Any], plugs: dict[str, Plug], request_: bytes
) -> None:
    assert ask(request_) == NOT_A_REQUEST
    assert ask(b'{"do": "off", "port": "1-1"}') == ""
    assert plugs["1-1"].done == ["off"]


@pytest.mark.parametrize("port", ["1-9", "", 1, None, ["1-1"], {"1-1": 1}])
def test_a_port_without_a_board_is_named_with_those_there_are(
    ask: Callable[[bytes], Any], plugs: dict[str, Plug], port: Any
) -> None:
    answer = ask(json.dumps({"do": "off", "port": port}).encode())
    assert answer == f"no board at port {port}; there are 1-1, 1-2"
    assert [plug.done for plug in plugs.values()] == [[], []]


@pytest.mark.parametrize("action", ["explode", "", None, 1, ["off"]])
def test_an_action_nobody_knows_is_named_with_those_there_are(
    ask: Callable[[bytes], Any], plugs: dict[str, Plug], action: Any
) -> None:
    answer = ask(json.dumps({"do": action, "port": "1-1"}).encode())
    assert answer == f"no action {action!r}; there are on, off, reset"
    assert plugs["1-1"].done == []


def test_each_action_reaches_its_board_only(strip: Path, plugs: dict[str, Plug]) -> None:
    assert strip.stat().st_mode & 0o777 == 0o600
    for action in ACTIONS:
        switch(action, "1-2")
    assert plugs["1-2"].done == ["on", "off", "reset"]
    assert plugs["1-1"].done == []


def test_a_client_that_says_nothing_keeps_nobody_waiting(strip: Path, plugs: dict[str, Plug]) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(str(strip))
        switch("off", "1-1")
    assert plugs["1-1"].done == ["off"]


def test_a_board_that_fails_is_an_error_with_its_reason(
    strip: Path, plugs: dict[str, Plug], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del strip
    broken = PowerStrip(tmp_path / "broken.sock", {**plugs, "1-3": Broken()})
    monkeypatch.setenv(VARIABLE, str(tmp_path / "broken.sock"))
    with pytest.raises(RigError, match="the plug is stuck"):
        switch("off", "1-3")
    broken.close()


def test_the_client_says_what_the_rack_refused(strip: Path) -> None:
    del strip
    with pytest.raises(
        RigError, match=r"did not switch port 1-9 off\n.*no board at port 1-9; there are 1-1, 1-2"
    ):
        switch("off", "1-9")


def test_outside_of_a_rack_it_is_the_callers_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(UsageError, match="hil rack run -- COMMAND"):
        switch("off", "1-1")


def test_a_rack_that_is_gone_is_the_bench_s_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nobody.sock"))
    with pytest.raises(RigError, match="is the rack still up"):
        switch("off", "1-1")


def test_the_command_outside_of_a_rack() -> None:
    done = racks.run([*racks.HIL, "rack", "power", "off", "1-1"])
    assert done.returncode == 2
    assert "not inside a virtual rack" in done.stderr
    assert "hil rack run -- COMMAND" in done.stderr


def test_the_command_in_a_rack_switches_and_says_what_was_wrong(tmp_path: Path) -> None:
    script = """
    hil rack power off 1-9; echo $?
    hil rack power explode 1-1 2>/dev/null; echo $?
    hil rack power off 1-2; echo $?; lsusb; echo; hil rack power on 1-2; echo $?; lsusb
    """
    done = racks.run(racks.new_site(tmp_path).rack("sh", "-c", script, fast=True), tmp_path)
    assert "no board at port 1-9; there are 1-1, 1-2, 1-3, 1-4" in done.stderr
    assert [line for line in done.stdout.splitlines() if line.isdigit()] == ["1", "2", "0", "0"]
    without, _, with_it = done.stdout.partition("\n\n")
    assert sorted(re.findall(r"2b04:(\w+)", without)) == ["c006", "c00c", "c00d"]
    assert sorted(re.findall(r"2b04:(\w+)", with_it)) == ["c006", "c00a", "c00c", "c00d"]


@pytest.fixture(scope="module")
def flashed(tmp_path_factory: pytest.TempPathFactory) -> racks.Site:
    """A rack whose Argon has the probe in its flash."""
    site = racks.new_site(tmp_path_factory.mktemp("modes"))
    done = racks.run(site.rack(sys.executable, str(racks.CLIENTS), "flash_probe", "argon"))
    assert done.returncode == 0, done.stderr
    return site


@pytest.mark.parametrize(
    ("mode", "face", "application", "listening"),
    [
        ("normal", "normal", "probe", False),
        ("dfu", "dfu", None, False),
        ("listening", "normal", "probe", True),
        ("safe", "normal", None, False),
    ],
)
def test_boards_start_in_the_mode_that_was_asked_for(
    flashed: racks.Site, mode: str, face: str, application: str | None, listening: bool
) -> None:
    done = racks.run(flashed.rack(sys.executable, str(racks.CLIENTS), "faces", "argon", mode=mode))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    tty = face == "normal"
    assert found["boards"] == [[board.port, face, tty] for board in racks.BOARDS]
    assert (found["application"], found["listening"]) == (application, listening)


def test_a_mode_nobody_knows() -> None:
    done = racks.run([*racks.HIL, "rack", "run", "--mode", "party", "--", "true"])
    assert done.returncode == 2
    assert "'normal', 'dfu', 'listening', 'safe'" in done.stderr
