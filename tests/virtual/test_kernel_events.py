"""Events of a real Linux 6.1 with udevd beside the rack's, for the same boards and ports (issue 6, points 13, 14).

``golden_kernel_events.json`` is our own measurement (real kernel fact sheet 1): each event with its source (K the
kernel, U udevd), seconds since the first of its kind, and its properties.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from hil.device.platforms import by_name
from hil.virtual.hardware.descriptors import CDC_DRIVERS, Face, dfu_face, normal_face
from hil.virtual.kernel.attachment import Attachment
from hil.virtual.kernel.port import Port
from hil.virtual.kernel.timing import REAL
from hil.virtual.kernel.usbdevice import SerialFace, UsbDevice
from tests.virtual.boardbench import BOARDS
from tests.virtual.fakekernel import FakeKernel

GOLDEN = json.loads((Path(__file__).parent / "golden_kernel_events.json").read_text())
NAMED_BY_NUMBER = ("SEQNUM", "USEC_INITIALIZED")  # in order of events and time of day

Properties = dict[str, str]


def golden(name: str, source: str) -> list[Properties]:
    """The recorded properties of ``name``: source K or U."""
    return [
        dict(line.split("=", 1) for line in event["props"])
        for event in GOLDEN[f"ev {name}"]
        if event["src"] == source
    ]


def comparable(event: Properties) -> dict[str, Any]:
    """Without what differs from plug to plug, links as a set (udev says them in the order of a hash)."""
    found: dict[str, Any] = {key: value for key, value in event.items() if key not in NAMED_BY_NUMBER}
    if "DEVNAME" in found:
        found["DEVNAME"] = found["DEVNAME"].removeprefix("/dev/")
    if "DEVLINKS" in found:
        found["DEVLINKS"] = set(found["DEVLINKS"].split())
    return found


def order(events: Iterable[Properties]) -> list[tuple[str, str]]:
    return [(event["ACTION"], event["DEVPATH"].partition("/usb1/")[2]) for event in events]


def device(face: Face, *, serial: bool) -> UsbDevice:
    return UsbDevice(
        face.device,
        face.configuration,
        face.strings,
        interface_drivers=dict(CDC_DRIVERS) if serial else None,
        serial=SerialFace() if serial else None,
    )


def normal(name: str) -> UsbDevice:
    device_os, device_id = BOARDS[name]
    return device(normal_face(by_name(name), device_os, device_id), serial=True)


def dfu(name: str) -> UsbDevice:
    device_os, device_id = BOARDS[name]
    return device(dfu_face(by_name(name), device_os, device_id), serial=False)


class Desk:
    """A board on a port whose numbers are those of the recording, and what was announced since."""

    def __init__(self, recorded: str, board: UsbDevice, port: str) -> None:
        first = golden(recorded, "K")
        devnums = [int(event["DEVNUM"]) for event in first if "DEVNUM" in event]
        ttys = [int(event["MINOR"]) for event in first if event["SUBSYSTEM"] == "tty"]
        self.kernel = FakeKernel(tty=ttys[0] if ttys else 0)
        if devnums:
            self.kernel.devnums = list(dict.fromkeys(devnums))  # those of the recording, in order
        self.port = Port(self.kernel, port)  # type: ignore[arg-type]
        self.recorded = recorded
        self.port.attach(board)
        self.forget()

    @property
    def attachment(self) -> Attachment:
        known = self.port.known
        assert known is not None
        return known.attachment

    def forget(self) -> None:
        self.kernel.kernel_order.clear()
        self.kernel.udev_order.clear()

    def judge(self) -> None:
        """Everything announced since is what the real kernel and the real udevd said."""
        kernel, udev = golden(self.recorded, "K"), golden(self.recorded, "U")
        assert order(self.kernel.kernel_order) == order(kernel)
        for ours, real in zip(self.kernel.kernel_order, kernel, strict=True):
            assert comparable(ours) == comparable(real)
        said = dict(zip(order(udev), udev, strict=True))
        assert sorted(order(self.kernel.udev_order)) == sorted(said)
        for pair, ours in zip(order(self.kernel.udev_order), self.kernel.udev_order, strict=True):
            assert comparable(ours) == comparable(said[pair])
        assert related(order(self.kernel.udev_order)) == related(order(udev))


def related(events: list[tuple[str, str]]) -> set[tuple[tuple[str, str], tuple[str, str]]]:
    """Pairs of events of one device, or of a device and one below it, in their order. Others udevd handles at once."""
    return {
        (earlier, later)
        for number, later in enumerate(events)
        for earlier in events[:number]
        if f"{later[1]}/".startswith(f"{earlier[1]}/") or f"{earlier[1]}/".startswith(f"{later[1]}/")
    }


def test_plugging_in() -> None:
    desk = Desk("on argon", normal("argon"), "1-3")
    desk.port.detach()
    desk.kernel.devnums = [int(golden("on argon", "K")[0]["DEVNUM"])]
    desk.forget()
    desk.port.attach(normal("argon"))
    desk.judge()


def test_unplugging_keeps_what_a_real_udevd_keeps_and_no_more() -> None:
    """Issue 6, point 13 (row 4): who tells boards by serial at ``remove`` fails here as on a desk."""
    desk = Desk("off argon", normal("argon"), "1-3")
    desk.port.detach()
    desk.judge()
    removed = desk.kernel.udev_order[-1]
    assert "ID_SERIAL_SHORT" not in removed
    assert removed["ID_PATH"] == "pci-0000:00:14.0-usb-0:3"


@pytest.mark.parametrize(
    ("recorded", "name", "port", "before", "after"),
    [
        ("reset photon", "photon", "1-1", normal, normal),
        ("dfu touch boron", "boron", "1-4", normal, dfu),
        ("leave dfu boron", "boron", "1-4", dfu, normal),
    ],
)
def test_a_board_that_restarts(recorded: str, name: str, port: str, before: Any, after: Any) -> None:
    desk = Desk(recorded, before(name), port)
    ttys = [int(event["MINOR"]) for event in golden(recorded, "K") if event["SUBSYSTEM"] == "tty"]
    desk.kernel.tty_numbers = ttys[-1:]
    desk.port.detach()
    desk.port.attach(after(name))
    desk.judge()


@pytest.mark.parametrize("asked", [0, 1])
def test_a_program_detaches_the_driver(asked: int) -> None:
    desk = Desk(f"detach cdc_acm {asked}", normal("argon"), "1-3")
    desk.attachment.disconnect_driver(asked)
    desk.judge()


def test_a_program_gives_the_interfaces_back() -> None:
    """Issue 6, point 14 (row 12): bind of the data interface, the tty, bind of the control interface."""
    desk = Desk("attach cdc_acm 0", normal("argon"), "1-3")
    desk.attachment.disconnect_driver(1)
    desk.forget()
    assert desk.attachment.connect_driver(1) is False
    assert desk.kernel.kernel_order == [] == golden("attach cdc_acm by 1", "K")
    assert desk.attachment.connect_driver(0) is True
    desk.judge()


class File:
    """An open usbfs file that counts what it loses."""

    def __init__(self) -> None:
        self.lost: list[int] = []

    def lost_interface(self, interface: int) -> None:
        self.lost.append(interface)

    def lost_device(self) -> None:
        self.lost.append(-1)


def test_claims_by_programs_send_no_events() -> None:
    """Issue 6, point 14 (row 7)."""
    desk = Desk("claim release 2", normal("argon"), "1-3")
    file = File()
    desk.attachment.claim(file, 2)
    desk.attachment.release(file, 2)
    desk.judge()
    assert golden("claim release 2", "K") == []


def test_a_reset_by_usbfs_takes_driver_and_claims_and_brings_the_driver_back() -> None:
    """Issue 6, point 13 (row 5)."""
    desk = Desk("usb reset argon", normal("argon"), "1-3")
    file = File()
    desk.attachment.claim(file, 2)
    desk.attachment.holders.pop(2)  # the recording's board was claimed by nobody
    desk.attachment.reset()
    desk.judge()
    desk.attachment.claim(file, 2)
    desk.attachment.reset()
    assert file.lost == [2]
    assert desk.attachment.driver_of(2) is None
    assert [desk.attachment.driver_of(number) for number in (0, 1)] == ["cdc_acm", "cdc_acm"]


def test_a_reset_of_a_board_that_leaves_meanwhile_is_an_error() -> None:
    desk = Desk("usb reset argon", normal("argon"), "1-3")
    attachment = desk.attachment

    def leave(seconds: float) -> None:
        del seconds
        desk.port.detach()

    desk.kernel.pause = leave  # type: ignore[method-assign]
    with pytest.raises(OSError, match="unplugged"):
        attachment.reset()
    assert order(desk.kernel.kernel_order)[-1] == ("remove", "1-3")


def between(recorded: str, action: str, following: str) -> float:
    """Seconds from the kernel's ``action`` of the board to ``following``."""
    events = [event for event in GOLDEN[f"ev {recorded}"] if event["src"] == "K"]
    times = {
        action: next(
            event["at"]
            for event in events
            if event["action"] == action and order([dict(p.split("=", 1) for p in event["props"])])
        )
        for action in (action, following)
    }
    return float(times[following] - times[action])


@pytest.mark.parametrize("recorded", ["reset photon", "dfu touch boron", "leave dfu boron"])
def test_real_timing_is_the_recorded_one(recorded: str) -> None:
    """Issue 6, point 13 (row 6): from the last of a board to the next of it, as the kernel was seen to need."""
    gap = REAL.recovery + REAL.debounce + REAL.enumeration
    assert gap == pytest.approx(between(recorded, "remove", "add"), abs=0.03)
    assert REAL.debounce + REAL.enumeration == pytest.approx(GOLDEN["ev took on argon"], abs=0.06)
    assert REAL.reset == pytest.approx(GOLDEN["ev took usb reset argon"], abs=0.05)


def test_off_and_on_without_a_pause_is_one_remove_and_one_add() -> None:
    """Issue 6, point 13 (row 6): the hub sees the port as it is when it looks."""
    kernel = FakeKernel(timing=REAL)
    port = Port(kernel, "1-3")  # type: ignore[arg-type]
    port.attach(normal("argon"))
    port.look()
    assert kernel.pauses == [REAL.debounce, REAL.enumeration]
    kernel.kernel_order.clear()
    for _ in range(5):
        port.detach()
        port.attach(normal("argon"))
    assert kernel.kernel_order == []
    port.look()  # too early for the new one: others come first
    assert order(kernel.kernel_order)[-1] == ("remove", "1-3")
    port._unplugged -= REAL.recovery
    port.look()
    whole = [pair for pair in order(kernel.kernel_order) if pair[1] == "1-3"]
    assert whole == [("unbind", "1-3"), ("remove", "1-3"), ("add", "1-3"), ("bind", "1-3")]


def test_a_board_that_bounces_is_enumerated_once_it_sits_still() -> None:
    kernel = FakeKernel(timing=REAL)
    port = Port(kernel, "1-3")  # type: ignore[arg-type]
    second = normal("argon")
    bounced: list[float] = []

    def bounce(seconds: float) -> None:
        if not bounced:
            port.detach()
            port.attach(second)
        bounced.append(seconds)

    kernel.pause = bounce  # type: ignore[method-assign]
    port.attach(normal("argon"))
    port.look()
    assert bounced == [REAL.debounce, REAL.debounce, REAL.enumeration]
    assert port.attached is second
    assert [pair for pair in order(kernel.kernel_order) if pair[1] == "1-3"] == [
        ("add", "1-3"),
        ("bind", "1-3"),
    ]
