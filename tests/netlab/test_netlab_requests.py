from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.errors import WireError
from hil.netlab.firewall import Action, AllowOnly, Block, Kind, Protocol, Service
from hil.netlab.requests import (
    DEFAULT_CAPTURE,
    MAX_SNAPLEN,
    AllowOnlyRequest,
    BlockRequest,
    CaptureStart,
    CountersRequest,
    Plain,
    parse_request,
)

UDP = Service(Protocol.UDP, 5684)
TCP = Service(Protocol.TCP, 5683)


@pytest.mark.parametrize(
    ("fields", "request_"),
    [
        ({"do": "block", "udp": 5684}, BlockRequest((Block(UDP, None, Action.DROP),))),
        (
            {"do": "block", "udp": 5684, "tcp": 5683, "board": "10.77.1.2", "action": "reject"},
            BlockRequest((Block(TCP, "10.77.1.2", Action.REJECT), Block(UDP, "10.77.1.2", Action.REJECT))),
        ),
        ({"do": "block", "board": "10.77.1.2"}, BlockRequest((Block(None, "10.77.1.2"),))),
        ({"do": "allow_only", "tcp": 5683, "udp": None}, AllowOnlyRequest(AllowOnly((TCP,), None))),
        ({"do": "capture_start"}, CaptureStart(MAX_SNAPLEN, DEFAULT_CAPTURE)),
        ({"do": "capture_start", "snaplen": 96, "limit": 1000}, CaptureStart(96, 1000)),
        ({"do": "clear"}, Plain("clear")),
        ({"do": "counters"}, CountersRequest((Kind.STOPPED, Kind.PASSED))),
        ({"do": "counters", "only": "passed"}, CountersRequest((Kind.PASSED,))),
    ],
)
def test_requests(fields: dict[str, object], request_: object) -> None:
    assert parse_request(json.dumps(fields).encode()) == request_


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b"", "not a request"),
        (b"block udp 5684", "not a request"),
        (b"[1]", r"expected: a JSON object\s+found: \[1\]"),
        (b"[" * 50000, "not a request"),
        (b"\xff\xfe", "not a request"),
        (b"{}", "unknown request"),
        (b'{"do": "format"}', "expected: do: block, allow_only"),
        (b'{"do": ["block"]}', "unknown request"),
        (b'{"do": "clear", "udp": 1}', "clear has no field 'udp'"),
        (b'{"do": "block", "upd": 5684}', "block has no field 'upd'"),
        (b'{"do": "block", "udp": 0}', "wrong udp"),
        (b'{"do": "block", "udp": 65536}', "a number from 1 to 65535"),
        (b'{"do": "block", "tcp": true}', "wrong tcp"),
        (b'{"do": "block", "tcp": "5683; flush ruleset"}', "wrong tcp"),
        (b'{"do": "block", "board": "10.77.1.2 accept"}', "wrong board"),
        (b'{"do": "block", "board": 1}', "wrong board"),
        (b'{"do": "block", "action": "accept"}', "drop or reject"),
        (b'{"do": "block", "action": {}}', "drop or reject"),
        (b'{"do": "counters", "only": "some"}', "stopped or passed"),
        (b'{"do": "allow_only"}', "allow_only without a port"),
        (b'{"do": "capture_start", "limit": 99999999999}', "wrong limit"),
    ],
)
def test_wrong_requests_say_what_is_wrong(line: bytes, complaint: str) -> None:
    with pytest.raises(WireError, match=complaint):
        parse_request(line)


_NAMES = st.sampled_from(
    ["block", "allow_only", "clear", "counters", "status", "capture_start", "capture_stop"]
)
_KEYS = st.sampled_from(["udp", "tcp", "board", "action", "only", "snaplen", "limit", "do", "other"])
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("10.77.1.2"),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(_NAMES, st.dictionaries(_KEYS, _VALUES))
def test_whatever_the_fields_hold_the_answer_is_a_request_or_a_wire_error(
    name: str, fields: dict[str, object]
) -> None:
    with contextlib.suppress(WireError):
        request = parse_request(json.dumps({"do": name, **fields}).encode())
        assert isinstance(request, BlockRequest | AllowOnlyRequest | CaptureStart | CountersRequest | Plain)


@given(st.binary())
def test_arbitrary_bytes_are_refused(line: bytes) -> None:
    with pytest.raises(WireError):
        parse_request(line)
