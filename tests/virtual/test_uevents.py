"""Events against those a real kernel and udevd sent for the same descriptors, and the bytes on the netlink socket."""

from __future__ import annotations

import contextlib
import struct
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hil.virtual.kernel import udevrules
from hil.virtual.kernel.port import Port, Step
from hil.virtual.kernel.uevents import Listeners, Uevent, kernel_message, murmur2, udev_message
from hil.virtual.kernel.usbnodes import Controller
from tests.virtual import devices

HERE = Path(__file__).parent


def golden() -> list[dict[str, str]]:
    """The recorded events, in the order udev sent them."""
    text = (HERE / "golden_uevents.txt").read_text()
    blocks = [block.splitlines() for block in text.split("\n\n")]
    events = [[line for line in block if "=" in line] for block in blocks]
    return [dict(line.split("=", 1) for line in block) for block in events if block]


class NoSysfs:
    def __getattr__(self, _name: str) -> Any:
        return lambda *_arguments: None


class FakeKernel:
    """The virtual kernel without namespaces: keeps what is announced, sorted as it would be sent."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.controller = Controller("/devices/platform/vhci_hcd.0", "platform-vhci_hcd.0")
        self.sysfs = NoSysfs()
        self.usbfs = NoSysfs()
        self.ttys = SimpleNamespace(create=self._create_tty, remove=lambda _tty: None)
        self.kernel_order: list[dict[str, str]] = []
        self.udev_order: list[dict[str, str]] = []
        self._devnum = 1
        self._seqnum = 1038

    def _create_tty(self, _face: object) -> object:
        return SimpleNamespace(path=Path("/dev/ttyACM0"), device_number=(166, 0), show=lambda: None)

    def next_devnum(self) -> int:
        self._devnum += 1
        return self._devnum

    def free_devnum(self, number: int) -> None:
        pass

    def announce(self, steps: list[Step]) -> None:
        numbered = list(enumerate(steps, start=self._seqnum))
        self._seqnum += len(steps)
        self.kernel_order += [step.event.kernel_properties(number) for number, step in numbered]
        by_rank = sorted(numbered, key=lambda pair: pair[1].rank)
        self.udev_order += [step.event.udev_properties(number) for number, step in by_rank]


def plugged() -> FakeKernel:
    kernel = FakeKernel()
    Port(kernel, "1-1").attach(devices.CdcDevice())  # type: ignore[arg-type]
    Port(kernel, "1-2").attach(devices.DfuDevice())  # type: ignore[arg-type]
    return kernel


def without_time(event: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in event.items() if key != "USEC_INITIALIZED"}


@pytest.mark.parametrize("port", ["1-1", "1-2"])
def test_plug_events_equal_the_recorded_ones_in_order_and_in_every_property(port: str) -> None:
    def of_port(events: list[dict[str, str]]) -> list[dict[str, str]]:
        return [without_time(event) for event in events if f"usb1/{port}" in event["DEVPATH"]]

    expected = of_port(golden())
    assert len(expected) == {"1-1": 8, "1-2": 3}[port]
    assert of_port(plugged().udev_order) == expected


def test_the_kernels_own_order_is_that_of_the_recorded_sequence_numbers() -> None:
    expected = sorted(golden(), key=lambda event: int(event["SEQNUM"]))
    wanted = [(event["SEQNUM"], event["ACTION"], event["DEVPATH"]) for event in expected]
    sent = [(event["SEQNUM"], event["ACTION"], event["DEVPATH"]) for event in plugged().kernel_order]
    assert sent == wanted


def test_unplugging_takes_the_tty_first_and_the_device_last() -> None:
    kernel = FakeKernel()
    port = Port(kernel, "1-1")  # type: ignore[arg-type]
    port.attach(devices.CdcDevice())
    before = len(kernel.udev_order)
    port.detach()
    order = [(event["ACTION"], event["DEVPATH"].rpartition("/")[2]) for event in kernel.udev_order[before:]]
    assert order == [
        ("remove", "ttyACM0"),
        ("unbind", "1-1:1.1"),
        ("unbind", "1-1:1.0"),
        ("remove", "1-1:1.0"),
        ("remove", "1-1:1.1"),
        ("remove", "1-1:1.2"),
        ("unbind", "1-1"),
        ("remove", "1-1"),
    ]
    assert port.attached is None


def test_a_removed_device_still_carries_what_udev_knew_of_it() -> None:
    kernel = FakeKernel()
    port = Port(kernel, "1-1")  # type: ignore[arg-type]
    port.attach(devices.CdcDevice())
    port.detach()
    last = kernel.udev_order[-1]
    assert last["ID_SERIAL_SHORT"] == devices.SERIAL
    assert last["ID_PATH"] == "platform-vhci_hcd.0-usb-0:1"
    assert "DRIVER" not in last


def test_events_of_a_second_plug_count_on() -> None:
    kernel = plugged()
    numbers = [int(event["SEQNUM"]) for event in kernel.kernel_order]
    assert numbers == list(range(1038, 1038 + 11))


# Reference values of MurmurHash2 with seed 0, computed apart with the published C code.
@pytest.mark.parametrize(
    ("text", "value"),
    [("", 0), ("usb", 0x0577C5E5), ("tty", 0x8AFA90C8), ("usb_device", 0x27F8F50C)],
)
def test_murmur2(text: str, value: int) -> None:
    assert murmur2(text.encode()) == value


def test_kernel_message_is_a_path_line_and_strings() -> None:
    event = Uevent("add", "/devices/x", "tty", {"DEVNAME": "/dev/ttyACM0", "MAJOR": "166"}, {"ID_BUS": "usb"})
    message = kernel_message(event, 7)
    assert message == (
        b"add@/devices/x\0ACTION=add\0DEVPATH=/devices/x\0SUBSYSTEM=tty\0DEVNAME=ttyACM0\0MAJOR=166\0SEQNUM=7\0"
    )


def test_udev_message_header_points_at_its_properties() -> None:
    event = Uevent("add", "/devices/x", "usb", {"DEVTYPE": "usb_device"}, {"ID_BUS": "usb"}, ("seat",))
    message = udev_message(event, 9)
    prefix, magic, header, offset, length = struct.unpack_from(">8sI", message) + struct.unpack_from(
        "=III", message, 12
    )
    assert (prefix, magic, header) == (b"libudev\0", 0xFEEDCAFE, 40)
    assert message[offset : offset + length].split(b"\0")[0] == b"ACTION=add"
    assert offset + length == len(message)
    subsystem, devtype, high, low = struct.unpack_from(">IIII", message, 24)
    assert (subsystem, devtype) == (murmur2(b"usb"), murmur2(b"usb_device"))
    assert 1 <= ((high << 32) | low).bit_count() <= 4


def test_names_are_cleaned_as_udev_cleans_them() -> None:
    assert udevrules.clean("Spark Core with WiFi    ") == "Spark_Core_with_WiFi"
    assert udevrules.encode("Argon CDC Mode") == "Argon\\x20CDC\\x20Mode"
    assert udevrules.path_tag("pci-0000:00:14.0-usb-0:1.2:1.0") == "pci-0000_00_14_0-usb-0_1_2_1_0"


def table(path: Path, queued: int, inode: int = 77) -> Path:
    head = "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n"
    path.write_text(
        f"{head}00000000 15  4242       00000002 {queued:<8} 0        0     2        0        {inode}\n"
    )
    return path


def test_a_full_listener_is_waited_for_until_it_reads(tmp_path: Path) -> None:
    path = table(tmp_path / "netlink", 200_000)
    listeners = Listeners(path)
    done = threading.Event()

    def wait() -> None:
        listeners.let_catch_up(2)
        done.set()

    thread = threading.Thread(target=wait)
    thread.start()
    with contextlib.suppress(FileNotFoundError):
        table(path, 100)
    thread.join(5)
    assert done.is_set()
    assert listeners._stuck == {}


def test_a_listener_that_never_reads_is_given_up(tmp_path: Path) -> None:
    path = table(tmp_path / "netlink", 200_000)
    listeners = Listeners(path)
    listeners.let_catch_up(2)
    assert listeners._stuck == {"77": 200_000}
    listeners.let_catch_up(1)
    listeners.let_catch_up(2)
    assert listeners._stuck == {"77": 200_000}
