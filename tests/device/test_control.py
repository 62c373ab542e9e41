"""The records of the control interface, against the vectors of the USB fact sheet 4.1 to 4.3."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.device.control import Record, Status
from hil.errors import WireError

VECTORS = [
    ("0300000000000100", Record(Status.OK, handle=1)),
    ("010000000300", Record(Status.BUSY)),
    ("010000000200", Record(Status.PENDING)),
    ("0d00000000001a00000000000000", Record(Status.OK, size=26, result=0)),
    ("09000000000088ffffff", Record(Status.OK, result=-120)),
]


@pytest.mark.parametrize(("encoded", "record"), VECTORS)
def test_records_of_the_fact_sheet(encoded: str, record: Record) -> None:
    assert Record.decode(bytes.fromhex(encoded)) == record
    assert record.encode().hex() == encoded


@given(st.binary(max_size=24))
def test_any_bytes_are_a_record_or_a_wire_error(data: bytes) -> None:
    try:
        record = Record.decode(data)
    except WireError:
        return
    assert int.from_bytes(data[4:6], "little") == record.status
    assert Record.decode(record.encode()) == record


@pytest.mark.parametrize(
    ("data", "trouble"),
    [("0100000003", "too short"), ("030000000000", "cut short"), ("010000000600", "unknown status")],
)
def test_a_broken_record_says_what_is_wrong(data: str, trouble: str) -> None:
    with pytest.raises(WireError, match=trouble):
        Record.decode(bytes.fromhex(data))
