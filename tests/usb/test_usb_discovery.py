"""Following boards by events. Properties as measured (golden uevents); rules of USB fact sheet 1.3, 2.2, 9.1."""

from __future__ import annotations

import threading

import pytest

from hil.device.platforms import UsbMode
from hil.errors import BoardNotFound
from hil.usb.discovery import UsbEvent, UsbWatcher
from hil.usb.sysfs import device_id_from_serial, port_of
from tests.usb.usb_fakes import FakeUdev, udev_board, udev_tty

ID = "e00fce68aabbccddeeff0011"
NORMAL = udev_board("1-3", "c00c", 5, ID)
DFU = udev_board("1-3", "d00c", 6, ID)
TTY = udev_tty("1-3", "ttyACM0")


def watcher(*there: tuple[object, str]) -> tuple[UsbWatcher, FakeUdev]:
    udev = FakeUdev(list(there))  # type: ignore[arg-type]
    watch = UsbWatcher(udev)
    watch.start()
    return watch, udev


@pytest.mark.parametrize(
    ("serial", "expected"),
    [
        (ID, ID),
        (ID.upper(), ID),
        (ID + "\0\0\0", ID),  # Core from 0.7.0: fixed descriptor with trailing NULs
        ("00000000050C", None),  # Gen 2 before 0.6.0: the same on every board
        ("3D00340007", None),
        ("", None),
    ],
)
def test_only_a_proper_serial_is_a_device_id(serial: str, expected: str | None) -> None:
    assert device_id_from_serial(serial) == expected


def test_the_port_path_is_found_through_hubs_and_below_interfaces() -> None:
    assert port_of("/devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1.4/1-1.4:1.0/tty/ttyACM0") == "1-1.4"
    assert port_of("/devices/pci0000:00/0000:00:14.0/usb1") is None
    assert port_of("/devices/virtual/tty/tty0") is None


def test_one_scan_finds_boards_and_their_first_serial_port() -> None:
    second = udev_tty("1-3", "ttyACM1", interface=3)
    watch, udev = watcher(NORMAL, udev_board("1-10", "d006", 9, "00000000010C"), second, TTY)
    first, other = watch.boards()
    assert (first.port, first.platform.name, first.mode, first.tty) == (
        "1-3",
        "argon",
        UsbMode.NORMAL,
        "/dev/ttyACM0",
    )
    assert (first.device_id, first.bus, first.address) == (ID, 1, 5)
    assert (other.port, other.platform.name, other.mode, other.device_id) == (
        "1-10",
        "photon",
        UsbMode.DFU,
        None,
    )
    assert udev.scans == 1


def test_devices_of_other_makers_are_not_boards() -> None:
    other = ({**udev_board("1-1", "c00c", 2, "x")[0], "PRODUCT": "46d/c52b/1211"}, "x")
    watch, _ = watcher(other, udev_tty("1-1", "ttyACM0"))
    assert watch.boards() == []


def test_a_change_of_mode_keeps_the_port() -> None:
    watch, udev = watcher(NORMAL, TTY)
    before = watch.at("1-3")
    assert before is not None
    udev.event("remove", TTY)
    udev.event("remove", NORMAL)
    assert watch.at("1-3") is None
    udev.event("add", DFU)
    after = watch.wait("1-3", UsbMode.DFU, 0)
    assert (after.mode, after.address, after.tty) == (UsbMode.DFU, 6, None)
    assert watch.wait_gone(before, 0)


def test_normal_mode_is_waited_for_until_the_serial_port_is_there() -> None:
    watch, udev = watcher()
    udev.event("add", NORMAL)
    with pytest.raises(BoardNotFound, match="no serial port yet"):
        watch.wait("1-3", UsbMode.NORMAL, 0)
    udev.event("add", TTY)
    assert watch.wait("1-3", UsbMode.NORMAL, 0).tty == "/dev/ttyACM0"


def test_an_event_wakes_who_waits() -> None:
    watch, udev = watcher()
    timer = threading.Timer(0.01, lambda: udev.event("add", DFU))
    timer.start()
    assert watch.wait("1-3", UsbMode.DFU, 10).address == 6
    timer.join()


def test_an_old_sighting_does_not_count_as_a_new_enumeration() -> None:
    watch, udev = watcher(DFU)
    seen = watch.at("1-3")
    with pytest.raises(BoardNotFound):
        watch.wait("1-3", UsbMode.DFU, 0, since=seen)
    again = udev_board("1-3", "d00c", 7, ID)
    udev.event("remove", DFU)
    udev.event("add", again)
    assert watch.wait("1-3", UsbMode.DFU, 0, since=seen).address == 7


def test_a_failed_wait_tells_what_was_seen_and_what_is_elsewhere() -> None:
    watch, udev = watcher(udev_board("1-4", "c00d", 8, "e00fce68c3d4e5f607182930"))
    timer = threading.Timer(0.01, lambda: udev.event("add", DFU))
    timer.start()
    with pytest.raises(BoardNotFound) as caught:
        watch.wait("1-3", UsbMode.NORMAL, 0.1)
    timer.join()
    assert "argon at USB port 1-3 (DFU mode)" in caught.value.found
    assert "add board argon in dfu mode at USB port 1-3" in caught.value.found
    assert "boron at USB port 1-4" in caught.value.found


def test_a_stale_remove_does_not_take_the_board_that_followed() -> None:
    watch, udev = watcher(DFU)
    udev.event("remove", NORMAL)  # address 5, long gone
    assert watch.at("1-3") is not None


def test_scan_and_monitor_may_both_report_a_board() -> None:
    watch, udev = watcher(NORMAL, TTY)
    udev.event("add", NORMAL)
    udev.event("add", TTY)
    board = watch.at("1-3")
    assert board is not None
    assert board.tty == "/dev/ttyACM0"
    assert len(watch.events) == 2


def test_listeners_hear_each_event_until_they_end() -> None:
    watch, udev = watcher()
    heard: list[UsbEvent] = []
    end = watch.listen(heard.append)
    udev.event("add", NORMAL)
    end()
    udev.event("remove", NORMAL)
    assert [str(event) for event in heard] == ["add board argon in normal mode at USB port 1-3"]
    assert [event.action for event in watch.events] == ["add", "remove"]
