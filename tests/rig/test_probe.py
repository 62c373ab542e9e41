"""The probe's host side against its contract, spoken to a board that keeps it; images and their store."""

from __future__ import annotations

import json
import os
import threading
import tty
from collections.abc import Callable
from typing import Any

import pytest

from hil.device.platforms import by_name
from hil.errors import RigError, WireError
from hil.rig.images import read_image
from hil.rig.modes import Mode
from hil.rig.probe import Probe, ProbeError, ProbeInfo, PublishState, ReceivedCall, ReceivedEvent
from hil.usb.control import ControlChannel
from hil.usb.seriallog import SerialLog
from tests.rig.memory_bench import BUILD, user_image
from tests.usb.usb_fakes import FakeUsbTransport, argon


class Contract:
    """A probe as CONTRACT.md has it, as far as these tests go. ``states`` are what ``published`` says in turn."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        self.events = [{"n": f"garden/{number}", "d": str(number)} for number in range(20)]
        self.states = ["pending", "pending", "ok"]
        self.connected = [False, False, True]

    def control(self, request: int, payload: bytes) -> tuple[int, bytes]:
        assert request == 10
        result, reply = self.answer(json.loads(payload))
        return result, json.dumps(reply).encode() if reply else b""

    def answer(self, command: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        self.seen.append(command)
        start = int(command.get("from", 0))
        page = self.events[start : start + 8]
        info = {"app": "probe", "version": 1, "build": BUILD, "os": "6.2.0", "boots": 3, "uptime": 1500}
        replies: dict[str, Callable[[], tuple[int, dict[str, Any]]]] = {
            "info": lambda: (0, info),
            "publish": lambda: (0, {"id": 7}),
            "published": lambda: (
                0,
                {"state": self.states.pop(0) if len(self.states) > 1 else self.states[0]},
            ),
            "received": lambda: (0, {"events": page, "next": start + len(page)}),
            "calls": lambda: (0, {"calls": [{"n": "f", "a": "x"}][start:], "next": 1}),
            "cloud": lambda: (0, {"connected": self.connected.pop(0) if len(self.connected) > 1 else True}),
            "subscribe": lambda: (-200, {}),
            "variable": lambda: (0, {}),
            "function": lambda: (0, {}),
            "unsubscribe": lambda: (0, {}),
        }
        return replies[str(command["c"])]() if command["c"] in replies else (-120, {})


class ProbeOnly:
    """As much of a board as its probe needs."""

    def __init__(self, contract: Contract, *, has_control: bool = True) -> None:
        self.name = "argon-1"
        self.serial = SerialLog("argon-1")
        self.has_control = has_control
        self.enumeration: object = 5
        self._channel = ControlChannel(argon(), FakeUsbTransport(contract.control), sleep=lambda _: None)

    def control(self) -> ControlChannel:
        return self._channel

    def leaving(self, restarts: bool) -> None:
        assert not restarts

    def expect_restart(self, action: Callable[[], object], within: float, mode: Mode = Mode.NORMAL) -> None:
        assert mode is Mode.NORMAL
        assert within > 0
        action()


def probe() -> tuple[Probe, Contract]:
    contract = Contract()
    return Probe(ProbeOnly(contract)), contract


def test_info_is_typed() -> None:
    assert probe()[0].info() == ProbeInfo("probe", 1, BUILD, "6.2.0", boots=3, uptime=1.5)


def test_a_publish_is_followed_until_it_is_decided() -> None:
    there, contract = probe()
    number = there.publish("garden/temperature", "21.5", "ack", ttl=30)
    assert number == 7
    assert contract.seen[0] == {"c": "publish", "n": "garden/temperature", "d": "21.5", "f": "ack", "ttl": 30}
    assert there.wait_published(number) is PublishState.OK
    contract.states = ["pending"]
    with pytest.raises(
        AssertionError, match=r"not publish 7 is decided within 0 s; saw <PublishState.PENDING"
    ):
        there.wait_published(number, within=0)


def test_all_pages_are_fetched() -> None:
    there, contract = probe()
    assert [event.name for event in there.received()] == [f"garden/{number}" for number in range(20)]
    assert [command.get("from") for command in contract.seen] == [0, 8, 16, 20]
    assert there.received(18) == [ReceivedEvent("garden/18", "18"), ReceivedEvent("garden/19", "19")]
    assert there.calls() == [ReceivedCall("f", "x")]


def test_a_test_begins_with_empty_lists_and_a_restart_begins_them_anew() -> None:
    contract = Contract()
    board = ProbeOnly(contract)
    there = Probe(board)
    there.begin()
    assert contract.seen[0] == {"c": "unsubscribe"}
    assert there.received() == []
    contract.events.append({"n": "new", "d": ""})
    assert there.received() == [ReceivedEvent("new", "")]
    board.enumeration, contract.events = 6, [{"n": "after the restart", "d": ""}]
    assert there.received() == [ReceivedEvent("after the restart", "")]


def test_waiting_for_an_event_lists_what_came_instead() -> None:
    there, contract = probe()
    assert there.wait_received("garden/3", "3").data == "3"
    contract.events = contract.events[:1]
    with pytest.raises(AssertionError, match=r"event 'nothing' is received within 0 s; saw .*garden/0"):
        there.wait_received("nothing", within=0)


def test_waiting_for_the_connection() -> None:
    there, _ = probe()
    there.wait_connected(5)
    with pytest.raises(AssertionError, match="not connected is False"):
        there.wait_connected(0, connected=False)


def test_values_travel_with_their_type() -> None:
    there, contract = probe()
    for value in (True, 5, 2.5, "x"):
        there.variable("v", value)
    there.function("f", "length")
    assert [command.get("t") for command in contract.seen] == ["bool", "int", "double", "string", None]
    assert contract.seen[-1] == {"c": "function", "n": "f", "r": "length"}


def test_a_refusal_names_board_command_and_result() -> None:
    there, _ = probe()
    with pytest.raises(ProbeError, match=r"probe on argon-1 refused command 'subscribe'") as caught:
        there.subscribe("x")
    assert caught.value.result == -200
    assert "limit exceeded (-200)" in caught.value.found
    with pytest.raises(ProbeError, match="is the probe flashed"):
        there.command("nonsense")


def test_a_reply_that_is_not_an_object_is_a_wire_error() -> None:
    contract = Contract()
    contract.control = lambda *_: (0, b"[1]")  # type: ignore[method-assign]
    with pytest.raises(WireError, match="not an object"):
        Probe(ProbeOnly(contract)).info()


def test_without_a_control_interface_commands_go_over_serial() -> None:
    contract = Contract()
    board = ProbeOnly(contract, has_control=False)
    device, host = os.openpty()
    tty.setraw(host)
    board.serial.attach(os.ttyname(host))
    assert board.serial.wait_attached(5)

    def answer() -> None:
        for _ in range(2):
            line = b""
            while not line.endswith(b"\n"):
                line += os.read(device, 100)
            result, reply = contract.answer(json.loads(line[1:]))
            os.write(
                device, b"probe: a log line\r\n<" + json.dumps({"_": result, **reply}).encode() + b"\r\n"
            )

    thread = threading.Thread(target=answer)
    thread.start()
    there = Probe(board)
    assert there.info().boots == 3
    with pytest.raises(ProbeError, match="limit exceeded"):
        there.subscribe("x")
    thread.join(5)
    board.serial.detach()
    os.close(device)
    os.close(host)


def test_a_serial_port_that_is_closed_is_a_fault_of_the_bench() -> None:
    with pytest.raises(RigError, match="serial port of argon-1 is not open"):
        Probe(ProbeOnly(Contract(), has_control=False)).info()


# -- images ---------------------------------------------------------------------------------------------


def test_an_image_tells_its_name_and_build() -> None:
    image = read_image(user_image(by_name("argon")))
    assert (image.app, image.version, image.build) == ("probe", "1", BUILD)
    assert image.module.start == 0xB4000
