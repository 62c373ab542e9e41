"""Unmodified programs in a rack of test devices: what they see must be what they would see on a desk."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import pytest

from tests.virtual.inrack import in_rack

SERIAL = "e00fce68aabbccddeeff0011"


@pytest.fixture
def client(tmp_path: Path) -> Any:
    """Calls a function of ``kernelclients`` in a fresh rack and returns what it found."""
    return functools.partial(in_rack, tmp_path, "kernelclients")


def test_programs_that_look_find_the_boards(client: Any) -> None:
    found = client("programs")
    assert [pair for pair in found["enumerated"] if pair[0] != "usb1"] == [["1-1", SERIAL], ["1-3", "cafe"]]
    assert (found["tty_parent"], found["tty_path"]) == ("1-1", "pci-0000:00:14.0-usb-0:1:1.0")
    assert found["by_id"] == "/dev/ttyACM0"
    assert sorted(found["tagged"]) == ["1-3", "usb1"]
    assert "Driver=xhci_hcd/8p, 480M" in found["tree"]
    assert "Port 1: Dev 2, If 0, Class=Communications, Driver=cdc_acm, 12M" in found["tree"]
    assert "iProduct                2 Argon" in found["verbose"]
    assert "nNbrPorts             8" in found["verbose"]
    assert f"USB VID:PID=2B04:C00C SER={SERIAL} LOCATION=1-1:1.0" in found["ports"]
    assert found["dfu"].count('path="1-3"') == 3
    assert 'name="@Internal Flash   /0x00030000/200*004Kg", serial="cafe"' in found["dfu"]


def test_the_line_behaves_as_cdc_acms(client: Any) -> None:
    found = client("serial_line")
    assert found["answer"] == "echo:ping\n"
    assert found["lines"] == [True, False]
    assert found["seen"] == [
        ["coding", "9600 8N1"],
        ["lines", [True, True]],
        ["coding", "28800 8N1"],
        ["data", "ping\n"],
        ["lines", [False, True]],
        ["lines", [False, False]],
        ["lines", [True, True]],
        ["coding", "123456 8N1"],
        ["lines", [False, False]],
    ]


def test_a_board_never_waits_for_its_reader(client: Any) -> None:
    assert client("nobody_listens") == {"read": 1000, "first": "x"}


def test_exclusive_use(client: Any) -> None:
    assert client("exclusive") == {"second": "16", "after": "echo:again\n"}


def test_a_touch_and_a_flash_by_dfu_util(client: Any) -> None:
    assert client("flash_cycle") == {
        "dfu_model": "d00c",
        "status": [0, 0, 0],
        "equal": True,
        "answer": "echo:back\n",
    }


def test_a_client_killed_in_a_transfer_leaves_the_board_usable(client: Any) -> None:
    assert client("killed_in_a_transfer") == {"killed": [-9, -9, -9], "status": 0, "equal": True, "open": 0}


def test_an_unplug_in_a_transfer_is_an_error_of_dfu_util(client: Any) -> None:
    assert client("unplugged_in_a_transfer") == {
        "status": 74,
        "error": "dfu-util: Error during download get_status",
    }


def test_interfaces_belong_to_their_driver(client: Any) -> None:
    found = client("interfaces")
    events = found.pop("events")
    assert found == {
        "vendor": "01000200",
        "stall": 32,
        "claim": 16,
        "write": 16,
        "active": [True, True, False],
        "tty_after_detach": False,
        "bulk": "echo:bulk",
        "timeout": 110,
        "tty_after_attach": True,
    }
    assert events == [
        ["remove", "ttyACM0", None],
        ["unbind", "1-1:1.1", None],
        ["unbind", "1-1:1.0", None],
        ["bind", "1-1:1.1", "cdc_acm"],
        ["add", "ttyACM0", None],
        ["bind", "1-1:1.0", "cdc_acm"],
    ]


def test_an_unplug_ends_what_was_open(client: Any) -> None:
    found = client("unplugged_reader")
    assert "device disconnected" in found["read"]
    assert found["write"] in ("SerialException", "OSError")
    assert found["control"] == 19
    assert found["gone"] is True


def test_two_hundred_cycles_lose_no_event_and_leak_nothing(client: Any) -> None:
    found = client("many_cycles")
    one = {
        "add usb": 4 * 200,
        "add tty": 200,
        "bind usb": 3 * 200,
        "unbind usb": 3 * 200,
        "remove usb": 4 * 200,
        "remove tty": 200,
    }
    assert found["counts"] == [one, one, one]
    assert found["after"] == found["before"]


def test_the_kernels_own_messages_are_there_for_who_reads_the_socket(client: Any) -> None:
    device = "/devices/pci0000:00/0000:00:14.0/usb1/1-1"
    assert client("raw_kernel_events") == [f"add@{device}", f"add@{device}/1-1:1.0", f"bind@{device}"]


def test_a_killed_rack_gives_errors_and_kills_nobody(client: Any) -> None:
    found = client("rack_killed", status=3)
    assert found["usb"] in (5, 19)
    assert found["serial"] in ("SerialException", "OSError")


def test_a_client_is_the_user_himself_without_capabilities(client: Any) -> None:
    found = client("identity")
    assert found["uid"] == os.getuid()
    assert found["capabilities"] == ["0000000000000000"]
    assert found["verify"] == "0"
