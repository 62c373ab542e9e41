"""What a run of suites in a rack leaves behind: summary, Allure results, evidence of what failed."""

from __future__ import annotations

import json
import re
import subprocess
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hil.errors import Category
from hil.netlab import pcap
from tests.system import racks

# One test of the house passes; of these one fails, one cannot begin, one is skipped.
BROKEN = """
import pytest

def test_broken_promise(board, cloud, network, operations):
    board.serial.write(b'>{"c":"info"}\\n')
    board.serial.expect('"app":"probe"', within=5)
    board.probe.publish("garden/failing", "1")
    cloud.events.expect("garden/failing", source=board)
    assert operations.spent() == {"publish": 2}

@pytest.fixture
def unlucky(board, cloud):
    raise RuntimeError("no luck")

def test_broken_begin(unlucky):
    pass

def test_broken_off(board):
    pytest.skip("not today")

def test_broken_path(board, cloud, network):
    assert cloud.call(board, "probe_echo", "hello") == 5
    network.block()
    assert not cloud.ping(board, timeout=1)
    cloud.events.expect("garden/never", within=0.1)
"""
PLATFORMS = ("photon", "argon")


@dataclass(frozen=True, slots=True)
class Outcome:
    done: subprocess.CompletedProcess[str]
    reports: Path
    results: dict[str, dict[str, Any]]

    @property
    def summary(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.reports / "summary.json").read_text())
        return found

    def attachments(self, test: str) -> dict[str, Path]:
        """Evidence of a test by the name that readers see."""
        folder = self.reports / "allure-results"
        return {each["name"]: folder / each["source"] for each in self.results[test].get("attachments", [])}


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    site = racks.new_site(tmp_path_factory.mktemp("report"))
    suite = site.root / "suites"
    suite.mkdir()
    (suite / "test_broken.py").write_text(BROKEN)
    boards = [word for platform in PLATFORMS for word in ("--board", platform)]
    done = racks.run(
        site.suites(
            "suites/publish",
            str(suite),
            *(
                "-k",
                "test_a_publish_reaches or broken",
                *boards,
                "--junitxml",
                str(site.reports / "junit.xml"),
            ),
        )
    )
    results = [
        json.loads(path.read_text()) for path in (site.reports / "allure-results").glob("*-result.json")
    ]
    return Outcome(done, site.reports, {result["name"]: result for result in results})


def planned(platform: str) -> Any:
    return next(board for board in racks.BOARDS if board.platform.name == platform)


def test_the_session_ends_as_any_with_failures(outcome: Outcome) -> None:
    assert outcome.done.returncode == 1, outcome.done.stdout + outcome.done.stderr
    assert "4 failed, 2 passed, 2 skipped" in outcome.done.stdout
    assert "2 errors" in outcome.done.stdout
    assert "INTERNALERROR" not in outcome.done.stdout
    assert outcome.done.stderr == ""


def test_the_summary_counts_tests_boards_and_operations(outcome: Outcome) -> None:
    summary = outcome.summary
    assert list(summary) == ["tests", "boards", "operations", "duration_s"]
    assert summary["tests"] == {"passed": 2, "failed": 4, "skipped": 2, "errors": 2}
    assert summary["operations"] == {"function": 2, "publish": 4}
    assert 0 < summary["duration_s"] < 120
    # The test that could not begin never ran; the board had to be flashed once to run the probe.
    assert summary["boards"] == [
        {
            "slot": f"{platform}-1",
            "platform": platform,
            "device_id": planned(platform).device_id,
            "transport": planned(platform).platform.transport.value,
            "tests": 4,
            "flashes": 1,
        }
        for platform in PLATFORMS
    ]


def test_the_terminal_has_a_line_for_each_board(outcome: Outcome) -> None:
    for platform in PLATFORMS:
        transport = planned(platform).platform.transport.value
        line = rf"^{platform}-1 +{platform} +{planned(platform).device_id} +{transport} +4 +1$"
        assert re.search(line, outcome.done.stdout, re.MULTILINE)
    assert "data operations: 6 (function 2, publish 4)" in outcome.done.stdout


def test_a_junit_file_says_of_each_test_what_it_ran_on_and_what_it_cost(outcome: Outcome) -> None:
    """Issue 6, point 20. The names are what CI servers filter by; a test that could not begin has them too."""
    cases = ElementTree.parse(outcome.reports / "junit.xml").findall(".//testcase")
    found = {
        case.get("name"): {
            each.get("name"): each.get("value") for each in case.findall("properties/property")
        }
        for case in cases
    }
    expected = {
        "broken_promise": "publish 1",
        "broken_begin": "0",
        "broken_off": "0",
        "a_publish": "publish 1",
    }
    for platform in PLATFORMS:
        board = planned(platform)
        for test, operations in expected.items():
            (facts,) = [
                facts for name, facts in found.items() if test in str(name) and f"[{platform}]" in str(name)
            ]
            category = {"broken_promise": {"category": "Product"}, "broken_begin": {"category": "Test"}}
            assert facts == {
                "board": f"{platform}-1",
                "device_id": board.device_id,
                "device_os": board.device_os,
                "firmware": "probe@1",
                "operations": operations,
                **category.get(test, {}),
            }
    assert len(found) == 10


def test_one_line_says_how_to_read_the_results(outcome: Outcome) -> None:
    (line,) = [line for line in outcome.done.stdout.splitlines() if line.startswith("results: ")]
    folder = outcome.reports
    assert line.endswith(f"{folder}/report.html: hil report --reports {folder}")
    assert f"results: {folder}/allure-results; " in line


def test_a_result_names_platform_and_physical_board(outcome: Outcome) -> None:
    assert len(outcome.results) == 10
    histories = set()
    for name, result in outcome.results.items():
        platform = name.partition("[")[2].removesuffix("]")
        parameters = {each["name"]: each for each in result["parameters"]}
        assert parameters["board"]["value"] == f"'{platform}'"
        assert not parameters["board"].get("excluded")
        assert parameters["physical board"]["value"] == f"'{platform}-1'"
        assert parameters["physical board"]["excluded"] is True
        assert {"name": "tag", "value": platform} in result["labels"]
        histories.add(result["historyId"])
    assert len(histories) == 10


def test_each_outcome_has_its_status(outcome: Outcome) -> None:
    expected = {
        "test_a_publish_reaches": "passed",
        "test_broken_promise": "failed",
        "test_broken_path": "failed",
    }
    expected |= {"test_broken_begin": "broken", "test_broken_off": "skipped"}
    for name, result in outcome.results.items():
        assert result["status"] == next(status for test, status in expected.items() if name.startswith(test))


def test_the_steps_of_making_a_board_ready_are_told(outcome: Outcome) -> None:
    containers = (outcome.reports / "allure-results").glob("*-container.json")
    fixtures = [each for path in containers for each in json.loads(path.read_text()).get("befores", [])]
    steps = [step["name"] for each in fixtures if each["name"] == "board" for step in each.get("steps", [])]
    made = [step for step in steps if "make ready" in step]
    assert sorted(set(made)) == [
        f"{platform}-1 make ready(probe@1, online=True)" for platform in sorted(PLATFORMS)
    ]
    assert len(made) == 10


@pytest.mark.parametrize("platform", PLATFORMS)
def test_each_thing_that_a_test_does_is_a_step(outcome: Outcome, platform: str) -> None:
    steps = outcome.results[f"test_broken_promise[{platform}]"]["steps"]
    assert [step["name"] for step in steps] == [
        f"{platform}-1 probe publish(garden/failing, 1)",
        f"cloud events expect(garden/failing, source={platform}-1)",
    ]


def test_what_failed_is_filed_by_whose_trouble_it_is(outcome: Outcome) -> None:
    filed = {
        name.partition("[")[0]: [label["value"] for label in result["labels"] if label["name"] == "category"]
        for name, result in outcome.results.items()
    }
    assert filed == {
        "test_a_publish_reaches_the_cloud_and_costs_one_operation": [],
        "test_broken_promise": ["Product"],
        "test_broken_begin": ["Test"],
        "test_broken_off": [],
        "test_broken_path": ["Product"],
    }


def test_allure_is_told_the_environment_and_the_categories(outcome: Outcome) -> None:
    folder = outcome.reports / "allure-results"
    lines = (folder / "environment.properties").read_text().splitlines()
    facts = dict(line.split("=", 1) for line in lines)
    assert facts["rig"] == "virtual"
    assert {key: value for key, value in facts.items() if key.startswith("device_os.")} == {
        f"device_os.{board.slot}": board.device_os for board in racks.BOARDS
    }
    assert {"hil", "python", "host"} <= set(facts)
    for rules in (
        json.loads((folder / "categories.json").read_text()),
        json.loads((outcome.reports / "allurerc.json").read_text())["categories"],
    ):
        assert {rule["name"] for rule in rules} == set(Category)


SOURCES = ("serial log of", "cloud log of", "CoAP of", "session keys of")
TIME = r"\d\d:\d\d:\d\d\.\d{3}"


def sources(platform: str) -> list[str]:
    return [f"{source} {platform}-1" for source in SOURCES]


@pytest.mark.parametrize("platform", PLATFORMS)
def test_what_failed_has_its_evidence(outcome: Outcome, platform: str) -> None:
    """Issue 6, point 21."""
    found = outcome.attachments(f"test_broken_promise[{platform}]")
    serial, cloud, coap, keys = sources(platform)
    assert sorted(found) == sorted(
        [serial, cloud, coap, keys, "operations", "firewall counters", "packets", "timeline"]
    )
    timeline = found["timeline"].read_text().splitlines()
    assert re.search(rf" {platform}-1 make ready\(probe@1, online=True\)$", timeline[0])
    assert re.search(rf" {platform}-1 probe publish\(garden/failing, 1\) = \d+$", timeline[-2])
    assert re.search(r" cloud events expect\(garden/failing, source=\S+\) = garden/failing$", timeline[-1])
    assert re.search(rf'^{TIME}  .*"app":"probe"', found[serial].read_text(), re.MULTILINE)
    published = rf'^{TIME}  publish +garden/failing "1" +publish 1$'
    assert re.search(published, found[cloud].read_text(), re.MULTILINE)
    called = outcome.attachments(f"test_broken_path[{platform}]")[cloud].read_text()
    assert re.search(rf'^{TIME}  call +probe_echo\("hello"\) = 5 +function 1$', called, re.MULTILINE)


@pytest.mark.parametrize("platform", PLATFORMS)
def test_what_failed_shows_its_costs_and_what_the_firewall_did_as_people_read_it(
    outcome: Outcome, platform: str
) -> None:
    """Issue 6, point 21: a table, and words."""
    found = outcome.attachments(f"test_broken_promise[{platform}]")
    heads, row, total = found["operations"].read_text().splitlines()
    assert heads.split() == ["time", "kind", "count", "device", "cause"]
    assert re.fullmatch(rf"{TIME}  publish  1      {platform}-1 +publish garden/failing.*", row)
    assert total == "sum: publish 1"
    transport = planned(platform).platform.transport
    counted = rf"^10\.77\.\d+\.2: {transport.protocol} {transport.port} to 198\.18\.0\.2: [1-9]\d* passed$"
    assert re.search(counted, found["firewall counters"].read_text(), re.MULTILINE)


@pytest.mark.parametrize("platform", PLATFORMS)
def test_what_failed_shows_its_messages_and_the_keys_to_its_packets(outcome: Outcome, platform: str) -> None:
    """Issue 6, point 21. An event is a POST on /E (protocol fact sheet 3.3), and 0x02 the code of POST."""
    found = outcome.attachments(f"test_broken_promise[{platform}]")
    _, _, coap, keys = (found[name].read_text() for name in sources(platform))
    published = r"  board -> cloud  (CON|NON) 0\.02 /E/garden/failing  event  mid \d+  .*\"1\"$"
    assert re.search(f"^{TIME}{published}", coap, re.MULTILINE)
    if planned(platform).platform.transport.protocol == "udp":
        assert re.fullmatch(r"CLIENT_RANDOM [0-9a-f]{64} [0-9a-f]{96}\n", keys)
    else:
        assert re.fullmatch(r"# TCP AES-128-CBC key=[0-9a-f]{32} first_iv=[0-9a-f]{32}\n", keys)


@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_packets_of_what_failed_can_be_read(outcome: Outcome, platform: str) -> None:
    capture = outcome.attachments(f"test_broken_promise[{platform}]")["packets"].read_bytes()
    assert capture[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1")  # pcap, microseconds or nanoseconds
    transport = planned(platform).platform.transport
    sent = [each for each in pcap.segments(pcap.read(capture)) if each.destination_port == transport.port]
    assert {(each.protocol, each.destination) for each in sent} == {(transport.protocol, "198.18.0.2")}


@pytest.mark.parametrize("platform", PLATFORMS)
def test_what_could_not_begin_has_the_evidence_there_was(outcome: Outcome, platform: str) -> None:
    found = outcome.attachments(f"test_broken_begin[{platform}]")
    assert sorted(found) == sorted([*sources(platform), "packets", "timeline"])


@pytest.mark.parametrize("platform", PLATFORMS)
def test_an_expectation_that_fails_behind_a_blocked_path_says_so(outcome: Outcome, platform: str) -> None:
    """Issue 6, point 21."""
    message = outcome.results[f"test_broken_path[{platform}]"]["statusDetails"]["message"]
    transport = planned(platform).platform.transport
    assert "no event garden/never within 0.1 s" in message
    service = rf"{transport.protocol} {transport.port} from 198\.18\.0\.2: [1-9]"
    stopped = rf"the network rules of this test stopped packets: .*\b{service}"
    assert re.search(stopped, message)
    assert re.search(f"^E +{stopped}", outcome.done.stdout, re.MULTILINE)


def test_what_passed_or_was_skipped_carries_no_ballast(outcome: Outcome) -> None:
    assert [
        name
        for name, result in outcome.results.items()
        if result["status"] in ("passed", "skipped") and outcome.attachments(name)
    ] == []
