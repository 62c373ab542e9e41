"""Events against those a real kernel and udevd sent for the same descriptors, and the bytes on the netlink socket."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from hil.virtual.kernel import udevrules
from hil.virtual.kernel.port import Port
from hil.virtual.kernel.uevents import Uevent, kernel_message, murmur2, udev_message
from hil.virtual.kernel.usbnodes import Controller
from tests.virtual import devices
from tests.virtual.fakekernel import FakeKernel

HERE = Path(__file__).parent
VHCI = Controller("/devices/platform/vhci_hcd.0", "platform-vhci_hcd.0")


def golden() -> list[dict[str, str]]:
    """The recorded events, in the order udev sent them."""
    text = (HERE / "golden_uevents.txt").read_text()
    blocks = [block.splitlines() for block in text.split("\n\n")]
    events = [[line for line in block if "=" in line] for block in blocks]
    return [dict(line.split("=", 1) for line in block) for block in events if block]


def plugged() -> FakeKernel:
    kernel = FakeKernel(VHCI)
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
