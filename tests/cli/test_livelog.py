"""Lines of the live log: what a person reads, what a machine reads, and what no terminal must ever get."""

from __future__ import annotations

import io
import json
import re
import unicodedata

import pytest
from click import unstyle
from hypothesis import given
from hypothesis import strategies as st

from hil.cli.livelog import json_line, renderer, terminal_line
from hil.cloud.state.activity import Cost, Entry
from hil.cloud.state.happenings import (
    Billed,
    Called,
    Delivered,
    Elsewhere,
    Happening,
    Joined,
    Left,
    Measured,
    Noted,
    Published,
    TurnedAway,
    Updated,
    VariableRead,
)

DEVICE = "e00fce68aabbccddeeff0011"
WORST = "a\x1b[31m\n\r\u2028\u2029\u202e\x07\x9b\udc80"


def entry(what: Happening, *costs: Cost, name: str = "argon-1") -> Entry:
    return Entry(1_700_000_000.25, DEVICE, name, what, costs)


def words(what: Happening, *costs: Cost, name: str = "argon-1") -> str:
    """A line without its time."""
    return terminal_line(entry(what, *costs, name=name)).partition("  ")[2]


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (Joined("hello", "10.77.3.2"), f"argon-1         online     new session from 10.77.3.2 ({DEVICE})"),
        (Left("silent for 50 s"), "argon-1         offline    silent for 50 s"),
        (Called("add", "3", 3), 'argon-1         call       add("3") = 3'),
        (Called("add", "3", error="no answer"), 'argon-1         call       add("3") failed: no answer'),
        (VariableRead("name", "a b"), 'argon-1         read       name = "a b"'),
        (VariableRead("on", True), "argon-1         read       on = true"),
        (Published("t/x", 'say "hi"', 8), 'argon-1         publish    t/x "say \\"hi\\""'),
        (Published("t/x", "", 0), "argon-1         publish    t/x"),
        (Delivered("t/x", "1", 1, 2), 'argon-1         deliver    t/x "1"  attempt 2'),
        (Updated("sending", 6144, 16384), "argon-1         update      37 %  6144 of 16384 bytes"),
        (Elsewhere("192.0.2.9", "do this"), "argon-1         elsewhere  dials 192.0.2.9, not this cloud; "
         "point it here: do this"),
        (Billed("call add, attempt 2"), "argon-1         cost       call add, attempt 2"),
        (Measured({"uptime": 77, "rssi": -57, "signal_strength": None, "cloud_state": 2}),
         "argon-1         vitals     uptime 77, rssi -57, 2 more"),
        (Measured({"rssi": None}), "argon-1         vitals     rssi failed"),
        (Measured({"16": 1}), "argon-1         vitals     16 1"),
        (Noted("asks for the time"), "argon-1         note       asks for the time"),
    ],
)  # fmt: skip
def test_what_a_person_reads(what: Happening, said: str) -> None:
    assert words(what) == said


def test_an_event_of_the_api_and_a_stranger() -> None:
    api = Entry(0.0, None, "", Published("t/x", "1", 1))
    assert terminal_line(api).split()[1:] == ["api", "publish", "t/x", '"1"']
    stranger = Entry(0.0, None, "", TurnedAway("192.0.2.9", "no such key", "key 1234"))
    assert terminal_line(stranger).partition("  ")[2] == (
        "stranger        refused    from 192.0.2.9: no such key (it shows key 1234)"
    )


def test_long_data_is_clipped_and_its_size_is_said() -> None:
    said = words(Published("t/x", "y" * 300, 300), Cost("publish", 1))
    assert said.endswith(f'"{"y" * 59}…" (300 bytes)  publish 1')
    assert "y" * 60 not in said


def test_costs_stand_below_each_other() -> None:
    lines = [
        words(Called("add", "3", 3), Cost("function", 1)),
        words(Published("garden/watered", "bed 3", 5), Cost("publish", 2), name="a rather long name"),
        words(VariableRead("x", 1), Cost("variable", 3), name="b"),
    ]
    assert len({re.search(r"(function|publish|variable) \d$", line).start() for line in lines}) == 1  # type: ignore[union-attr]


def test_names_and_data_from_outside_cannot_move_the_cursor() -> None:
    line = terminal_line(entry(Called(WORST, WORST, error=WORST), name=WORST))
    assert "\\x1b[31m\\n\\r\\u2028\\u2029\\u202e\\x07\\x9b\\udc80" in line
    assert line.isprintable()


texts = st.text(alphabet=st.characters(exclude_categories=[]), max_size=80)
happenings = st.one_of(
    st.builds(Joined, texts, texts),
    st.builds(Left, texts),
    st.builds(TurnedAway, texts, texts, texts),
    st.builds(Called, texts, texts, st.none() | st.integers(), st.none() | texts),
    st.builds(VariableRead, texts, st.none() | st.booleans() | st.floats() | texts, st.none() | texts),
    st.builds(Published, texts, texts, st.integers(0, 2000), st.booleans()),
    st.builds(Delivered, texts, texts, st.integers(0, 2000), st.integers(1, 3)),
    st.builds(
        Updated,
        st.sampled_from(["started", "sending", "sent", "failed"]),
        st.integers(0, 9),
        st.integers(0, 9),
        texts,
    ),
    st.builds(Elsewhere, texts, texts),
    st.builds(Billed, texts),
    st.builds(Measured, st.dictionaries(texts, st.none() | st.integers(-(2**31), 2**32 - 1), max_size=9)),
    st.builds(Noted, texts),
)


@given(happenings, texts)
def test_any_entry_is_one_line_that_a_terminal_only_prints(what: Happening, name: str) -> None:
    line = terminal_line(entry(what, name=name))
    categories = {unicodedata.category(one) for one in line}
    assert not categories & {"Cc", "Cf", "Cs", "Zl", "Zp", "Cn", "Co"}
    assert unstyle(terminal_line(entry(what, name=name), coloured=True)).rstrip() == line


@given(happenings, texts)
def test_any_entry_is_one_line_of_json(what: Happening, name: str) -> None:
    line = json_line(entry(what, Cost("publish", 1), name=name))
    assert line.isascii()
    assert "\n" not in line
    found = json.loads(line)
    assert (found["kind"], found["device_id"], found["costs"]) == (what.kind, DEVICE, {"publish": 1})


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "no_color", "coloured"),
    [(Terminal(), "", True), (Terminal(), "1", False), (io.StringIO(), "", False)],
)
def test_colours_are_for_terminals_whose_users_want_them(
    stream: io.StringIO, no_color: str, coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    line = renderer(stream, as_json=False)(entry(Called("add", "3", 3)))
    assert ("\x1b[" in line) is coloured
    assert "\x1b" not in renderer(stream, as_json=True)(entry(Called("add", "3", 3)))
