"""The CBOR decoder, against the examples of RFC 8949."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.device.cbor import decode
from hil.errors import WireError


@pytest.mark.parametrize(
    ("encoded", "expected"),
    [  # RFC 8949, appendix A
        ("00", 0),
        ("1903e8", 1000),
        ("1bffffffffffffffff", 18446744073709551615),
        ("3903e7", -1000),
        ("f93c00", 1.0),
        ("fa47c35000", 100000.0),
        ("fb3ff199999999999a", 1.1),
        ("f4", False),
        ("f5", True),
        ("f6", None),
        ("6449455446", "IETF"),
        ("4401020304", {"_type": "buffer", "_data": "AQIDBA=="}),
        ("83010203", [1, 2, 3]),
        ("a26161016162820203", {"a": 1, "b": [2, 3]}),
        ("c11a514b67b0", 1363896240),
    ],
)
def test_the_examples_of_the_rfc(encoded: str, expected: object) -> None:
    assert decode(bytes.fromhex(encoded)) == expected


@given(st.binary(max_size=200))
def test_garbage_is_a_wire_error(data: bytes) -> None:
    with contextlib.suppress(WireError):
        decode(data)
