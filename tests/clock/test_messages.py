"""The language of the control socket, and durations in words: bytes and words from outside."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.clock.durations import parse_duration
from hil.clock.messages import (
    Advance,
    Follow,
    Hold,
    Run,
    Show,
    Step,
    encode,
    parse_answer,
    parse_order,
    parse_request,
    report_of,
)
from hil.clock.types import ClockError
from hil.errors import UsageError, WireError

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


def encoded(fields: Mapping[str, object]) -> bytes:
    return json.dumps(fields).encode()


WORDS = st.sampled_from(["show", "advance", "follow", "hold", "step", "run", "do"])
FIELDS = st.sampled_from(["seconds", "name", "at", "shift", "ok", "changes", "due", "fired", "alone"])


@pytest.mark.parametrize(
    ("line", "request_"),
    [
        (b'{"do": "show"}', Show()),
        (b'{"do": "advance", "seconds": 90}', Advance(90.0)),
        (b'{"do": "follow", "name": "hil (process 42)"}', Follow("hil (process 42)")),
    ],
)
def test_requests(line: bytes, request_: object) -> None:
    assert parse_request(line) == request_


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (b'{"do": "show", "seconds": 1}', "no field 'seconds'"),
        (b'{"do": "advance"}', "wrong seconds"),
        (b'{"do": "advance", "seconds": 0}', "wrong seconds"),
        (b'{"do": "advance", "seconds": -1}', "wrong seconds"),
        (b'{"do": "advance", "seconds": true}', "wrong seconds"),
        (b'{"do": "advance", "seconds": NaN}', "wrong seconds"),
        (b'{"do": "advance", "seconds": Infinity}', "wrong seconds"),
        (b'{"do": "advance", "seconds": 316224001}', "wrong seconds"),
        (b'{"do": "follow", "name": ""}', "wrong name"),
        (b'{"do": "follow", "name": "a\\nb"}', "wrong name"),
        (b'{"do": "step", "at": 1}', "unknown request"),
        (b"[]", "not a request"),
        (b"", "not a request"),
    ],
)
def test_wrong_requests_say_which_field_is_wrong(line: bytes, what: str) -> None:
    with pytest.raises(WireError, match=what):
        parse_request(line)


@given(st.binary(max_size=60) | st.dictionaries(st.just("do") | FIELDS, WORDS | ANYTHING).map(encoded))
def test_whatever_comes_in_is_a_request_or_an_error_in_words(line: bytes) -> None:
    for parse in (parse_request, parse_order):
        with contextlib.suppress(WireError):
            parsed = parse(line)
            assert parse(encode(parsed)) == parsed


@given(st.floats(0, 1e12))
def test_orders_travel_exactly(at: float) -> None:
    for order in (Hold(), Step(at), Run(at)):
        assert parse_order(encode(order)) == order


@given(st.binary(max_size=60) | st.dictionaries(FIELDS, ANYTHING).map(encoded))
def test_whatever_a_follower_answers_is_a_report_or_an_error_in_words(line: bytes) -> None:
    with contextlib.suppress(WireError, ClockError):
        report = report_of(parse_answer(line))
        assert report.changes >= 0
        assert report.fired >= 0


def test_an_error_travels_with_all_its_words() -> None:
    with pytest.raises(ClockError) as caught:
        parse_answer(b'{"ok": false, "what": "w", "expected": "e", "found": "f", "hint": "h"}')
    error = caught.value
    assert (error.what, error.expected, error.found, error.hint) == ("w", "e", "f", "h")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("15m", 900),
        ("2d", 172_800),
        ("1d12h", 129_600),
        ("1.5h", 5400),
        ("1w", 604_800),
        (" 1h30m5s ", 5405),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "90", "0s", "-1s", "5x", "5s3m", "1m1m", "s", "٣s", "1e3s", "1 h"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(UsageError, match="not a duration"):
        parse_duration(text)


@given(st.text(max_size=20))
def test_any_text_is_a_duration_or_an_error(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert parse_duration(text) > 0
