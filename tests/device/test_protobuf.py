"""The protobuf codec: bytes from the protobuf encoding documentation, round trips, garbage."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.device import protobuf
from hil.device.protobuf import Fields, Writer
from hil.errors import UsageError, WireError


@pytest.mark.parametrize(
    ("value", "wire"), [(0, "00"), (127, "7f"), (150, "9601"), (6200, "b830"), (2**64 - 1, "ff" * 9 + "01")]
)
def test_varints(value: int, wire: str) -> None:
    assert protobuf.encode_varint(value).hex() == wire
    assert protobuf.decode_varint(bytes.fromhex(wire), 0) == (value, len(wire) // 2)


@pytest.mark.parametrize("wire", ["", "80", "ff" * 10 + "01"])
def test_broken_varints(wire: str) -> None:
    with pytest.raises(WireError, match="broken varint"):
        protobuf.decode_varint(bytes.fromhex(wire), 0)


@pytest.mark.parametrize("value", [-1, 1 << 64])
def test_varints_out_of_range_are_the_callers_mistake(value: int) -> None:
    with pytest.raises(UsageError, match="out of range"):
        protobuf.encode_varint(value)


def test_each_kind_of_field() -> None:
    wire = (
        Writer()
        .uint(1, 150)
        .text(2, "testing")
        .message(3, Writer().uint(1, 150))
        .fixed32(6, 30)
        .fixed64(7, 1)
        .zigzag(8, -1)
        .signed(9, -2)
        .finish()
    )
    assert wire.hex() == (
        "089601" + "120774657374696e67" + "1a03089601" + "351e000000" + "390100000000000000" + "4001"
        "48feffffffffffffffff01"
    )
    fields = Fields(wire)
    assert fields.uint(1) == 150
    assert fields.text(2) == "testing"
    assert Fields(fields.data(3)).uint(1) == 150
    assert fields.uint(6) == 30
    assert fields.uint(7) == 1
    assert fields.zigzag(8) == -1
    assert fields.signed(9) == -2


def test_zero_values_are_left_out_unless_asked_for() -> None:
    empty = Writer().uint(1, 0).signed(2, 0).zigzag(3, 0).fixed32(4, 0).fixed64(5, 0).data(6, b"").text(7, "")
    assert empty.finish() == b""
    kept = Writer().uint(1, 0, always=True).fixed32(2, 0, always=True).data(3, b"", always=True)
    assert kept.message(4, b"").finish().hex() == "0800" + "1500000000" + "1a00" + "2200"


def test_absent_fields_read_as_their_defaults() -> None:
    fields = Fields(b"")
    assert 1 not in fields
    assert (fields.uint(1), fields.uint(1, 7), fields.signed(1, -1), fields.zigzag(1, -1)) == (0, 7, -1, -1)
    assert (fields.data(1), fields.text(1), fields.text(1, "x"), fields.all(1)) == (b"", "", "x", [])


def test_last_value_wins_and_repeated_fields_keep_all() -> None:
    assert Fields(Writer().uint(1, 1).uint(1, 2).finish()).uint(1) == 2
    fields = Fields(Writer().data(1, b"a").data(1, b"b").finish())
    assert fields.all(1) == [b"a", b"b"]
    assert fields.data(1) == b"b"


@pytest.mark.parametrize(
    ("wire", "what"),
    [
        ("00", "a field number"),
        ("0b", "wire type"),
        ("0a05616263", "runs past the end"),
        ("0d0000", "runs past the end"),
        ("08", "broken varint"),
    ],
)
def test_broken_messages(wire: str, what: str) -> None:
    with pytest.raises(WireError, match=what):
        protobuf.decode(bytes.fromhex(wire))


def test_wrong_types_are_refused() -> None:
    fields = Fields(Writer().uint(1, 1).data(2, b"\xff").finish())
    with pytest.raises(WireError, match="expected: bytes"):
        fields.data(1)
    with pytest.raises(WireError, match="expected: an integer"):
        fields.uint(2)
    with pytest.raises(WireError, match="not UTF-8"):
        fields.text(2)


def test_field_zero_cannot_be_written() -> None:
    with pytest.raises(UsageError, match="no such protobuf field"):
        Writer().uint(0, 1)


@given(st.integers(-(2**63), 2**63 - 1))
def test_signed_integers_survive(value: int) -> None:
    fields = Fields(Writer().signed(1, value, always=True).zigzag(2, value, always=True).finish())
    assert (fields.signed(1), fields.zigzag(2)) == (value, value)


@given(st.binary(max_size=60))
def test_garbage_raises_only_wire_errors(data: bytes) -> None:
    try:
        fields = protobuf.decode(data)
    except WireError:
        return
    assert all(number >= 1 and isinstance(value, int | bytes) for number, _, value in fields)
