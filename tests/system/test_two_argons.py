"""Two racks at once, a rig with two Argons: what is asked for by name is what is tested, and what the report shows."""

from __future__ import annotations

import json
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.system import racks

SECOND_ARGON = """
[[slots]]
name = "argon-right"
port = "1-5"
platform = "argon"
device_os = "6.2.0"
device_id = "e00fce68aabbccddeeff0022"
address = "10.77.5.2"
features = ["bench-end"]
"""
SUITE = """
import pytest

def test_name(board):
    print("runs on", board.name, board.device_id)
    assert board.probe.info().app == "probe"

@pytest.mark.board("argon", count=2)
def test_pair(board, boards, peer):
    assert [each.platform.name for each in boards] == ["argon", "argon"]
    assert boards == [board, peer]
    board.subscribe("twins/pair")
    peer.probe.publish("twins/pair", peer.name)
    assert board.probe.wait_received("twins/pair", within=5).data == peer.name

@pytest.mark.board(features={"bench-end"})
def test_end(board):
    assert board.name == "argon-right"
"""
IDS = {"argon-1": "e00fce68aabbccddeeff0011", "argon-right": "e00fce68aabbccddeeff0022"}


def site_with_two_argons(root: Path) -> racks.Site:
    site = racks.new_site(root)
    site.rig.write_text(site.rig.read_text() + SECOND_ARGON)
    (root / "suites").mkdir()
    (root / "suites/test_which.py").write_text(SUITE)
    return site


def suites(place: racks.Site, *arguments: str) -> list[str]:
    """The command line that runs the suite on the probe: outside of the house no project says what boards run."""
    return place.suites(str(place.root / "suites"), "--app", "probe@1", *arguments)


def counts(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """Tests by board, from the table at the end of the run."""
    assert done.returncode == 0, done.stdout + done.stderr
    rows = re.findall(r"^(\S+) +\S+ +[0-9a-f]{24} +\S+ +(\d+) +\d+$", done.stdout, re.MULTILINE)
    return {name: int(tests) for name, tests in rows}


def results(site: racks.Site) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in (site.reports / "allure-results").glob("*-result.json")]


def physical(result: dict[str, Any]) -> str:
    (name,) = (each["value"] for each in result["parameters"] if each["name"] == "physical board")
    return str(name).strip("'")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> racks.Site:
    return site_with_two_argons(tmp_path_factory.mktemp("two"))


def test_each_slot_by_its_name_and_two_racks_at_once(site: racks.Site, tmp_path: Path) -> None:
    """The table and the report of both show the board that was asked for; histories do not know it."""
    other = site_with_two_argons(tmp_path)
    asked = {"argon-right": site, "argon-1": other}
    with ThreadPoolExecutor(2) as both:
        commands = [suites(place, "-k", "test_name", "--board", name) for name, place in asked.items()]
        done = dict(zip(asked, both.map(racks.run, commands), strict=True))
    histories = set()
    for name, place in asked.items():
        assert counts(done[name]) == {name: 1}
        (result,) = results(place)
        assert physical(result) == name
        assert result["name"] == "test_name[argon]"
        attached = [place.reports / "allure-results" / each["source"] for each in result["attachments"]]
        assert any(f"runs on {name} {IDS[name]}" in path.read_text() for path in attached)
        histories.add(result["historyId"].replace(str(place.root), ""))
    summary = json.loads((site.reports / "summary.json").read_text())
    assert [each["slot"] for each in summary["boards"]] == ["argon-right"]


def test_every_board_of_the_rig_is_used(site: racks.Site) -> None:
    done = racks.run(suites(site, "--each-board", "-k", "test_name"))
    assert counts(done) == dict.fromkeys(("photon-1", "electron-1", "argon-1", "boron-1", "argon-right"), 1)
    assert {result["name"] for result in results(site)} == {
        f"test_name[{slot}]" for slot in ("photon-1", "electron-1", "argon-1", "boron-1", "argon-right")
    }


def test_two_of_a_kind_and_a_feature_find_their_boards(site: racks.Site) -> None:
    done = racks.run(suites(site, "-k", "pair or end", "--board", "argon"))
    counted = counts(done)
    assert set(counted) == {"argon-1", "argon-right"}
    assert sum(counted.values()) == 2
    assert counted["argon-right"] >= 1
