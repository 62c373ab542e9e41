"""Plugging, resets and sysfs in a rack of test devices, judged by unmodified programs (issue 6, points 13 and 14)."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest

from tests.virtual.inrack import HERE, in_rack

SERIAL = "e00fce68aabbccddeeff0011"


@pytest.fixture
def client(tmp_path: Path) -> Any:
    """Calls a function of ``plugclients`` in a fresh rack and returns what it found."""
    return functools.partial(in_rack, tmp_path, "plugclients")


def test_a_stopped_monitor_slows_nothing(client: Any) -> None:
    """Issue 6, point 13 (row 1): with half a second for each event of 100 replugs this takes a quarter of an hour."""
    assert client("stopped_monitor") == "done"


def test_a_tty_that_is_held_comes_back_under_another_name(client: Any) -> None:
    """Issue 6, point 13 (row 3)."""
    assert client("held_tty") == {
        "gone": [],
        "held": ["ttyACM0", "ttyACM2"],
        "by_id": ["ttyACM0"],
        "copy held": ["ttyACM0", "ttyACM2"],
        "closed": ["ttyACM0", "ttyACM1"],
    }


def test_a_tty_that_is_closed_as_its_board_leaves_keeps_no_name(client: Any) -> None:
    """Closes and the rack's own one at the same moment are one event of inotify: whoever counts them loses a name."""
    assert client("closed_at_once") == ["ttyACM0"]


@pytest.mark.parametrize("options", [(), ("--real",)])
def test_usbreset_on_an_open_port(client: Any, options: tuple[str, ...]) -> None:
    """Issue 6, point 13 (row 5)."""
    assert client("reset_by_usbreset", *options) == {
        "status": 0,
        "said": "ok",
        "events": [
            ["remove", "ttyACM0"],
            ["unbind", "1-1:1.1"],
            ["unbind", "1-1:1.0"],
            ["unbind", "1-1:1.2"],
            ["bind", "1-1:1.1"],
            ["add", "ttyACM1"],
            ["bind", "1-1:1.0"],
        ],
        "read": "",
        "write": 5,
        "driver of 2": False,
        "answer": "echo:again\n",
    }


def test_boards_of_one_hub_are_enumerated_one_after_the_other(client: Any) -> None:
    """Issue 6, point 13 (row 6)."""
    found = client("boards_of_one_hub", "--real")
    ports = ("1-1", "1-2", "1-3")
    assert found["plugged"] == [[action, port] for port in ports for action in ("add", "bind")]
    assert sorted(found["again"]) == sorted(
        [action, port] for port in ports for action in ("unbind", "remove", "add", "bind")
    )
    came = [pair for pair in found["again"] if pair[0] in ("add", "bind")]
    assert came == [[action, port] for port in ports for action in ("add", "bind")]
    assert found["ttys"] == ["/dev/ttyACM0", "/dev/ttyACM1", "/dev/ttyACM2"]


def test_udevadm_trigger_announces_the_boards_again(client: Any) -> None:
    """Issue 6, point 13 (row 2): the write landed in the file, and boards vanished from ``hil boards``."""
    found = client("triggered")
    assert found["status"] == [0, 0]
    assert found["events"]["1-1"] == ["change", True, SERIAL]
    assert found["events"]["ttyACM0"] == ["change", True, SERIAL]
    assert found["events"]["1-1:1.2"] == ["change", True, None]
    assert found["events"]["1-2"] == ["change", True, "cafe"]
    assert [pair for pair in found["there"] if pair[0] != "usb1"] == [["1-1", SERIAL], ["1-2", "cafe"]]


# Of this plug alone, or of how much was talked with the board.
PLUGGED = ("dev", "devnum", "urbnum", "uevent")


def test_sysfs_of_a_board_is_that_of_a_real_kernel(client: Any) -> None:
    """Issue 6, points 13 and 14: names, modes, links and content of every file beside the recorded ones."""
    golden = json.loads((HERE / "golden_kernel_events.json").read_text())["tree dfu"]
    # A recording of power/control stands for itself; an interface has none.
    real = {name: value for name, value in golden.items() if not name.endswith("power/control")}
    ours = client("tree")
    assert sorted(ours) == sorted(real)
    for name, value in real.items():
        if name in PLUGGED:
            assert ours[name][0] == value[0], name
        else:
            assert ours[name] == value, name


def test_what_is_written_to_sysfs_has_its_effect_or_is_refused(client: Any) -> None:
    """Issue 6, point 13 (row 2) and point 14: errno values of drivers/base/bus.c and drivers/usb/core."""
    plain, dark = "1-1 1-1:1.0 1-1:1.1 1-1:1.2", "1-1"
    lit = f"{plain} ttyACM0"
    eperm, enodev, eacces, ebusy, einval = 1, 19, 13, 16, 22
    assert client("written") == [
        ["devices/1-1/devnum", "7", eacces, lit],
        ["devices/1-1/uevent", "explode\n", einval, lit],
        ["drivers/cdc_acm/unbind", "1-1:1.2", enodev, lit],
        ["drivers/cdc_acm/unbind", "1-1:1.1", None, plain],
        ["drivers/cdc_acm/bind", "1-1:1.1", enodev, plain],
        ["drivers/cdc_acm/bind", "1-1:1.0\n", None, lit],
        ["drivers/cdc_acm/bind", "1-1:1.0", ebusy, lit],
        ["drivers/usb/unbind", "1-1", None, dark],
        ["drivers_probe", "1-1", None, lit],
        ["devices/1-1/bConfigurationValue", "3", einval, lit],
        ["devices/1-1/bConfigurationValue", "0", None, dark],
        ["devices/1-1/bConfigurationValue", "1", None, lit],
        ["devices/1-1/authorized", "maybe", einval, lit],
        ["devices/1-1/authorized", "0", None, dark],
        ["devices/1-1/authorized", "1", None, lit],
        ["devices/1-1:1.0/authorized", "0", None, plain],
        ["drivers/cdc_acm/bind", "1-1:1.0", enodev, plain],
        ["devices/1-1:1.0/authorized", "1", None, plain],
        ["drivers_probe", "1-1:1.0", None, lit],
        ["drivers/cdc_acm/new_id", "2b04", einval, lit],
        ["devices/usb1/authorized", "0", eperm, lit],
        ["drivers/hub/unbind", "1-0:1.0", eperm, lit],
        ["devices/1-0:1.0/usb1-port1/disable", "1", None, ""],
        ["devices/1-0:1.0/usb1-port1/disable", "0", None, lit],
        ["devices/1-1/remove", "1", None, ""],
        ["devices/usb1/authorized_default", "0", None, ""],
        ["devices/1-1/authorized", "1", None, lit],
    ]
