"""``hil rack run --cloud``: four boards online, played with from outside the rack by curl and the real particle-cli."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.clients.particle_clients import ParticleClients
from tests.cloud.test_cloud_cli import read_until
from tests.system import racks

NAMES = {"photon-1", "electron-1", "argon-1", "boron-1"}


def command(site: racks.Site, *more: str) -> list[str]:
    return [
        *racks.HIL,
        "rack",
        "run",
        "--cloud",
        "--rig",
        str(site.rig),
        "--state",
        str(site.root / "play"),
        *more,
    ]


@contextmanager
def playing(site: racks.Site, *more: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A rack with a cloud, and what it prints until it is ready."""
    process = subprocess.Popen(
        command(site, *more),
        cwd=site.root,
        env=racks.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            yield process, read_until(process.stdout, "Ctrl-C ends it")
        finally:
            process.terminate()


def goodbye(process: subprocess.Popen[str], *numbers: signal.Signals) -> tuple[int, str, str]:
    for number in numbers or (signal.SIGINT,):
        process.send_signal(number)
    out, err = process.communicate(timeout=racks.PATIENCE)
    return process.returncode, out, err


def test_four_boards_for_curl_and_particle_cli(tmp_path: Path) -> None:
    site = racks.new_site(tmp_path)
    with playing(site) as (process, banner):
        assert set(re.findall(r"^(\S+) is online$", banner, re.MULTILINE)) == NAMES
        url = re.search(r"^HTTP API +(\S+)$", banner, re.MULTILINE)[1]  # type: ignore[index]
        token = re.search(r"^token +(\S+)$", banner, re.MULTILINE)[1]  # type: ignore[index]
        if shutil.which("curl"):
            for line in re.findall(r"(curl -H .*)$", banner, re.MULTILINE):
                said = subprocess.run(
                    ["sh", "-c", line], capture_output=True, text=True, timeout=60, check=True
                )
                assert "error" not in json.loads(said.stdout), said.stdout
        clients = ParticleClients(tmp_path / "home", url)
        for line in re.findall(r"^particle +(.*)$|^ +(particle .*)$", banner, re.MULTILINE):
            for one in re.split(r" && |; ", re.sub(r" \(.*\)", "", "".join(line))):
                if "config particle" not in one:
                    clients.expect(*one.split()[1:])
        listed = clients.expect("list")
        for name in NAMES:
            assert re.search(rf"{name} \[[0-9a-f]{{24}}\] \(\w+\) is online", listed), listed
        assert clients.expect("call", "argon-1", "digitalwrite", "D7=HIGH").strip().endswith("1")
        clients.expect("publish", "garden/gate", "open")
        assert clients.outside_hosts == []
        assert token in banner
        status, out, err = goodbye(process)
    assert (status, err) == (0, "")
    assert re.search(
        r'^[\d:.]+  argon-1 +call +digitalwrite\("D7=HIGH"\) = 1 +function 1$', out, re.MULTILINE
    )
    assert re.search(r'^[\d:.]+  api +publish +garden/gate "open"$', out, re.MULTILINE)
    assert out.endswith(f"\nthe rack and its cloud have stopped; their state stays in {tmp_path}/play\n")


def test_two_keys_of_impatience_are_still_a_goodbye(tmp_path: Path) -> None:
    with playing(racks.new_site(tmp_path)) as (process, _):
        status, out, err = goodbye(process, signal.SIGINT, signal.SIGINT, signal.SIGTERM)
    assert (status, err) == (0, "")
    assert out.endswith(f"their state stays in {tmp_path}/play\n")


SCRIPT = """
set -e
hil boards
state=$PWD/play/cloud
hil cloud devices --state $state
hil cloud point argon-1 --address 203.0.113.9 --state $state
tail -n +1 -f play/log | sed '/elsewhere/q' >/dev/null
hil cloud point argon-1 --state $state
tail -n +1 -f play/log | sed '/online/q' >/dev/null
exit 7
"""


def test_a_command_beside_the_cloud_and_a_board_that_dials_another_one(tmp_path: Path) -> None:
    """203.0.113.0/24 is for documentation (RFC 5737): nobody answers there."""
    site = racks.new_site(tmp_path)
    done = racks.run(command(site, "--", "sh", "-c", SCRIPT), tmp_path)
    assert done.returncode == 7, done.stdout + done.stderr
    assert len(re.findall(r" free$", done.stdout, re.MULTILINE)) == 4
    assert len(re.findall(r" online$", done.stdout, re.MULTILINE)) == 4 + 4
    log = (tmp_path / "play/log").read_text()
    (named,) = re.findall(r"^\S+  argon-1 +elsewhere  (.*)$", log, re.MULTILINE)
    pointing = f"hil rack exec -- hil cloud point argon-1 --state {tmp_path}/play/cloud"
    assert named == f"dials 203.0.113.9, not this cloud; point it here: {pointing}"
    assert re.search(r"argon-1 +online +new session from 10\.77\.3\.2", log[log.index(named) :])


def test_the_address_holds_inside_the_rack_too_and_its_state_is_apart(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").touch()
    site = racks.new_site(tmp_path)
    ask = "import os, urllib.request as u; " + (
        "r = u.Request(os.environ['HIL_CLOUD_URL'] + '/v1/devices', "
        "headers={'Authorization': 'Bearer ' + os.environ['HIL_CLOUD_TOKEN']}); print(u.urlopen(r).read().decode())"
    )
    run = [*racks.HIL, "rack", "run", "--cloud", "--rig", str(site.rig), "--", "python", "-c", ask]
    done = racks.run(run, tmp_path)
    assert done.returncode == 0, done.stderr
    devices = json.loads(done.stdout.splitlines()[-1])
    assert {device["name"] for device in devices if device["online"]} == NAMES
    assert sorted(os.listdir(tmp_path / ".hil")) == ["play"]


def test_lines_for_machines(tmp_path: Path) -> None:
    site = racks.new_site(tmp_path)
    process = subprocess.Popen(
        command(site, "--json"), cwd=tmp_path, env=racks.environment(), stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        boards = [json.loads(process.stdout.readline()) for _ in NAMES]
        assert {each["device"] for each in boards if each["trouble"] is None} == NAMES
        first = json.loads(process.stdout.readline())
        assert first["kind"] == "started"
        assert first["url"].startswith("http://127.0.0.1:")
        process.send_signal(signal.SIGINT)
        rest = [json.loads(line) for line in process.stdout]
    assert process.returncode == 0
    assert rest[-1] == {"kind": "stopped"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "which command? (or --cloud, to play with the boards)"),
        (["--json", "--", "true"], "--http-port and --json are for a rack with --cloud"),
    ],
)
def test_options_that_do_not_fit_together(arguments: list[str], said: str, tmp_path: Path) -> None:
    refused = racks.run([*racks.HIL, "rack", "run", *arguments], tmp_path)
    assert refused.returncode == 2
    assert said in refused.stderr


def test_a_port_that_is_taken_is_said_before_the_rack_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = racks.run(command(racks.new_site(tmp_path), "--http-port", str(port)), tmp_path)
    assert refused.returncode == 1
    assert f"cannot listen on TCP 127.0.0.1:{port}: the port is taken" in refused.stderr
