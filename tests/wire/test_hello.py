"""Hellos of real boards (protocol fact sheet 8.6 and 11.1), shapes, garbage."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.errors import UsageError, WireError
from hil.wire.coap import message as coap
from hil.wire.messages.hello import Hello, HelloFlag

ARGON_ID = bytes.fromhex("e00fce68aabbccddeeff0011")
ELECTRON_ID = bytes.fromhex("3d0034000747343337373738")
F = HelloFlag
BASE = F.DIAGNOSTICS | F.IMMEDIATE_UPDATES | F.GOODBYE | F.DEVICE_DESCRIBES

BOARDS = {
    "photon-2.3.1": (
        "50020001b168ff0006ffff00360006",
        Hello(6, 0xFFFF, BASE, 6),
        15,
    ),
    "boron-2.3.1": (
        "40020001b168ff000dffff0076000d000ce00fce68aabbccddeeff0011",
        Hello(13, 0xFFFF, BASE | F.COMPRESSED_OTA, 13, ARGON_ID),
        29,
    ),
    "electron-3.3.1": (
        "40020001b168ff000affff0036000a000c3d00340007473433373737380ce603c0000200000200",
        Hello(10, 0xFFFF, BASE, 10, ELECTRON_ID, 3302, 960, 131072, 512),
        39,
    ),
    "argon-6.2.0": (
        "40020001b168ff000cffff00f6000c000ce00fce68aabbccddeeff001118380480001770000200",
        Hello(12, 0xFFFF, BASE | F.COMPRESSED_OTA | F.OTA_V3, 12, ARGON_ID, 6200, 1152, 1536000, 512),
        39,
    ),
    "argon-6.2.0-product-1": (
        "40020001b168ff000c000100f6000c000ce00fce68aabbccddeeff001118380480001770000200",
        Hello(12, 1, BASE | F.COMPRESSED_OTA | F.OTA_V3, 12, ARGON_ID, 6200, 1152, 1536000, 512),
        39,
    ),
    "argon-2.3-product-1": (
        "40020001b168ff000c00010076000c000ce00fce68aabbccddeeff0011",
        Hello(12, 1, BASE | F.COMPRESSED_OTA, 12, ARGON_ID),
        29,
    ),
    "tcp-3.x": (
        "50020001b168ff0006ffff00360006" + "0000" + "0ce603c0000400000200",
        Hello(6, 0xFFFF, BASE, 6, None, 3302, 960, 262144, 512),
        27,
    ),
}


@pytest.mark.parametrize(("wire", "hello", "size"), BOARDS.values(), ids=BOARDS.keys())
def test_boards(wire: str, hello: Hello, size: int) -> None:
    encoded = coap.encode(hello.message(1, confirmable=wire.startswith("4")))
    assert encoded.hex() == wire
    assert len(encoded) == size
    assert Hello.parse(coap.decode(encoded)) == hello


def test_the_session_vector_of_a_photon() -> None:
    hello = Hello.parse(coap.decode(bytes.fromhex("5002c1c1b168ff0006000100360006")))
    assert (hello.product_id, hello.product_version, hello.platform_id) == (6, 1, 6)
    assert HelloFlag.OTA_SUCCEEDED not in hello.flags


def test_unknown_flags_survive() -> None:
    hello = Hello(6, 0xFFFF, HelloFlag(0x8101), 6)
    assert Hello.decode(hello.encode()) == hello


def test_fields_of_later_versions_are_passed_over() -> None:
    hello = BOARDS["argon-6.2.0"][1]
    assert Hello.decode(hello.encode() + b"\x01\x02") == hello


@pytest.mark.parametrize(
    ("payload", "what"),
    [
        ("", "too short"),
        ("0006ffff003600", "too short"),
        ("0006ffff0036000600", "length of the device id"),
        ("0006ffff00360006000c0102", "0 or 12 bytes"),
        ("0006ffff003600060003010203", "0 or 12 bytes"),
        ("0006ffff0036000600000ce6", "inside its limits"),
    ],
)
def test_broken_hellos(payload: str, what: str) -> None:
    with pytest.raises(WireError, match=what):
        Hello.decode(bytes.fromhex(payload))


def test_another_message_is_no_hello() -> None:
    with pytest.raises(WireError, match="another kind"):
        Hello.parse(coap.decode(bytes.fromhex("40020001b16400")))


@pytest.mark.parametrize("change", [{"max_message": None}, {"product_id": 0x10000}, {"chunk_size": -1}])
def test_what_cannot_be_sent_is_the_callers_mistake(change: dict[str, int | None]) -> None:
    with pytest.raises(UsageError, match="Hello"):
        replace(BOARDS["argon-6.2.0"][1], **change).encode()  # type: ignore[arg-type]


@given(st.binary(max_size=40))
def test_garbage_raises_only_wire_errors(payload: bytes) -> None:
    try:
        hello = Hello.decode(payload)
    except WireError:
        return
    assert Hello.decode(hello.encode()) == hello
