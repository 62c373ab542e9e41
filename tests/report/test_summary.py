"""The summary of a run: its schema is what the issue of this project fixed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hil.report.evidence import Evidence
from hil.report.summary import BoardSummary, RunSummary


def test_summary_has_exactly_the_agreed_schema(tmp_path: Path) -> None:
    summary = RunSummary(duration_s=12.3456)
    summary.boards["argon-1"] = BoardSummary("argon-1", "argon", "e00fce68aabbccddeeff0011", "dtls", 3, 1)
    for when, outcome in [
        ("setup", "passed"),
        ("call", "passed"),
        ("teardown", "passed"),
        ("call", "failed"),
        ("setup", "failed"),
        ("teardown", "failed"),
        ("setup", "skipped"),
        ("call", "skipped"),
    ]:
        summary.count(when, outcome)
    summary.add_operations({"publish": 2})
    summary.add_operations({"publish": 1, "function": 1})
    path = tmp_path / "reports" / "summary.json"
    summary.write(path)
    assert json.loads(path.read_text()) == {
        "tests": {"passed": 1, "failed": 1, "skipped": 2, "errors": 2},
        "boards": [
            {
                "slot": "argon-1",
                "platform": "argon",
                "device_id": "e00fce68aabbccddeeff0011",
                "transport": "dtls",
                "tests": 3,
                "flashes": 1,
            }
        ],
        "operations": {"function": 1, "publish": 3},
        "duration_s": 12.346,
    }
    assert [entry.name for entry in path.parent.iterdir()] == ["summary.json"]


def test_terminal_lines_name_each_board_and_the_operations() -> None:
    summary = RunSummary()
    summary.boards["photon-1"] = BoardSummary("photon-1", "photon", "3d0034000747343337373738", "tcp", 20, 2)
    summary.add_operations({"publish": 5, "function": 2})
    lines = list(summary.lines())
    assert lines[1].split() == ["photon-1", "photon", "3d0034000747343337373738", "tcp", "20", "2"]
    assert lines[-1] == "data operations: 7 (function 2, publish 5)"


def test_a_source_of_evidence_that_fails_does_not_hide_the_others() -> None:
    def broken() -> str:
        raise OSError("port is gone")

    evidence = Evidence()
    evidence.add("serial", "log", broken)
    evidence.add("ledger", "txt", lambda: "publish 1")
    evidence.add("packets", "pcap", lambda: b"\xd4\xc3\xb2\xa1")
    exhibits = {exhibit.name: exhibit.content for exhibit in evidence.collect()}
    assert exhibits["ledger"] == b"publish 1"
    assert exhibits["packets"] == b"\xd4\xc3\xb2\xa1"
    assert b"port is gone" in exhibits["serial (not available)"]


@pytest.mark.parametrize(("when", "outcome"), [("setup", "passed"), ("teardown", "passed")])
def test_only_the_call_phase_makes_a_pass(when: str, outcome: str) -> None:
    summary = RunSummary()
    summary.count(when, outcome)
    assert summary.passed == 0


def test_a_board_is_shown_as_what_people_call_it() -> None:
    summary = RunSummary()
    summary.boards["east"] = BoardSummary(
        "east", "electron", "2b0041000251363131363432", "dtls", variant="E Series"
    )
    assert "east          E Series  2b0041000251363131363432" in "\n".join(summary.lines())
    assert summary.as_dict()["boards"] == [
        {
            "slot": "east",
            "platform": "electron",
            "device_id": "2b0041000251363131363432",
            "transport": "dtls",
            "tests": 0,
            "flashes": 0,
            "variant": "E Series",
        }
    ]
