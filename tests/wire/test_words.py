"""Messages in words. The messages are the recorded ones of ``protocol_vectors.json``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.wire.messages.words import in_words

VECTORS = json.loads((Path(__file__).parent / "protocol_vectors.json").read_text())


def vector(name: str) -> str:
    def find(node: object) -> str | None:
        if isinstance(node, dict):
            if isinstance(node.get(name), str):
                return str(node[name])
            return next((found for each in node.values() if (found := find(each))), None)
        if isinstance(node, list):
            return next((found for each in node if (found := find(each))), None)
        return None

    found = find(VECTORS)
    assert found is not None, name
    return found


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("device_hello_coap", "NON 0.02 /h  hello  mid 49601  0x0006000100360006"),
        (
            "device_event_coap",
            'NON 0.02 /E/spark/device/last_reset  event  mid 49602  "power_down"',
        ),
        ("server_hello_coap", "NON 0.02 /h  hello  mid 30625"),
        ("server_ping_ack_coap", "ACK 0.00  ack  mid 4660"),
    ],
)
def test_a_recorded_message(message: str, words: str) -> None:
    assert in_words(bytes.fromhex(vector(message))) == words


def test_what_comes_from_outside_moves_no_cursor_and_forges_no_line() -> None:
    """Names and payloads are a device's own; U+2028 breaks lines in some readers, ESC begins a terminal's command."""
    name = "a\x1b]52;c;Zm9v\x07\n\u2028b".encode()
    event = bytes.fromhex("5002c1c2b145") + bytes([0x0D, len(name) - 13]) + name + b"\xff" + b"\x1b[2J"
    words = in_words(event)
    assert words.isprintable()
    assert words == r"NON 0.02 /E/a\x1b]52;c;Zm9v\x07\n\u2028b  event  mid 49602  0x1b5b324a"


def test_a_message_of_which_only_the_beginning_is_there_says_its_size() -> None:
    whole = bytes.fromhex("5002c1c2b1450161ff") + b"x" * 600
    assert in_words(whole[:200], len(whole)).endswith(f'"{"x" * 120}"... (600 bytes)')


@given(st.binary(max_size=300))
def test_anything_can_be_said_on_one_line(data: bytes) -> None:
    assert in_words(data).isprintable()
