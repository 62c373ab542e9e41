"""Names of result codes, USB fact sheet 4.4."""

import pytest

from hil.device.results import result_name


@pytest.mark.parametrize(
    ("result", "name"),
    [
        (0, "ok (0)"),
        (-120, "not supported (-120)"),
        (-1331, "resumed update failed (-1331)"),
        (-1801, "device protected (-1801)"),
        (-1234, "-1234"),
        (7, "7"),
    ],
)
def test_a_result_is_shown_by_name_and_number_or_by_its_number_alone(result: int, name: str) -> None:
    assert result_name(result) == name
