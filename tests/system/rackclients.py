"""What runs inside a whole rack: ``python rackclients.py NAME [ARGUMENT...]`` says lines of JSON to judge.

Unmodified libraries (pyudev, pyusb, pyserial, sockets), and the harness where a board is to be made ready.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
from typing import Any

import pyudev
import serial
import usb.core

from hil.device.platforms import UsbMode
from hil.rig.board import Board
from hil.rig.images import FirmwareStore
from hil.rig.pool import BoardPool
from hil.rig.rigfile import find_rig, load_rig
from hil.usb.discovery import UsbWatcher

PATIENCE = 20.0
PARTICLE = 0x2B04


def say(what: Any) -> None:
    print(json.dumps(what), flush=True)


def monitor() -> pyudev.Monitor:
    found = pyudev.Monitor.from_netlink(pyudev.Context())
    found.start()
    return found


def power(action: str, port: str) -> str:
    """Asks the power strip; returns its error, or nothing."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(os.environ["HIL_RACK_POWER"])
        connection.sendall(json.dumps({"do": action, "port": port}).encode())
        return str(json.loads(connection.recv(4096))["error"])


def releases() -> None:
    """Raw request 30 to each board: IN, request 0x50, index 30 (USB fact sheet 4.6)."""
    found = {}
    for device in usb.core.find(find_all=True, idVendor=PARTICLE):
        text = bytes(device.ctrl_transfer(0xC0, 0x50, 0, 30, 64))
        name = ".".join(map(str, device.port_numbers))
        found[f"{device.bus}-{name}"] = text.partition(b"\0")[0].decode()
    say(found)


def watch(port: str) -> None:
    """Every event until the board is bound again, which comes last."""
    events = monitor()
    say("ready")
    seen = []
    while (event := events.poll(PATIENCE)) is not None:
        seen.append([event.action, event.subsystem, event.sys_name, event.get("SEQNUM")])
        if (event.action, event.sys_name) == ("bind", port):
            say(seen)
            return
    raise TimeoutError(str(seen))


def cycles(port: str, count: str) -> None:
    """Unplugs and plugs in by the power strip; the last word is what it answered when it was not content."""
    wrong = [error for _ in range(int(count)) for action in ("off", "on") if (error := power(action, port))]
    say(wrong)


def count_events(port: str) -> None:
    """Counts by action and subsystem until something happens at ``port``."""
    events = monitor()
    say("ready")
    counts: dict[str, int] = {}
    while (event := events.poll(PATIENCE)) is not None:
        if port in event.device_path.split("/"):
            say(counts)
            return
        key = f"{event.action} {event.subsystem}"
        counts[key] = counts.get(key, 0) + 1
    raise TimeoutError(str(counts))


def orphaned(port: str) -> None:
    """Holds a tty, a USB device and the rack's sockets; says what each answers once the rack is dead."""
    tty = next(
        device.device_node
        for device in pyudev.Context().list_devices(subsystem="tty")
        if port in device.device_path.split("/")
    )
    line = serial.Serial(tty, timeout=PATIENCE)
    device = usb.core.find(idVendor=PARTICLE)
    device.ctrl_transfer(0xC0, 0x50, 0, 30, 64)
    with socket.socket(socket.AF_UNIX) as network:
        network.connect(os.environ["HIL_NETWORK"])
        say("ready")
        sys.stdin.readline()
        found = {
            "usb": _error(lambda: device.ctrl_transfer(0xC0, 0x50, 0, 30, 64)),
            "read": _error(lambda: line.read(1)),
            "write": _error(lambda: line.write(b"x")),
            "open": _error(lambda: open(tty, "rb", buffering=0).close()),
            "power": _error(lambda: power("off", port)),
            "network": network.recv(1).decode(),
        }
    say(found)


def flash_probe(platform: str) -> None:
    """Writes the probe into the board's flash."""
    rig = load_rig(find_rig())
    with UsbWatcher() as watcher, BoardPool(rig, watcher).lease(platform) as board:
        say(board.flash(FirmwareStore(rig.firmware.directory).image("probe", "1", board.platform)).written)


def faces(platform: str) -> None:
    """Port, face and tty of each board; application and listening mode of one."""
    with UsbWatcher() as watcher:
        seen = sorted(watcher.boards(), key=lambda each: each.port)
        found: dict[str, Any] = {
            "boards": [[each.port, each.mode.value, each.tty is not None] for each in seen],
            "application": None,
            "listening": False,
        }
        if seen[0].mode is not UsbMode.DFU:
            slot = next(each for each in load_rig(find_rig()).slots if each.platform == platform)
            with contextlib.closing(Board(slot, watcher)) as board:
                running = board.firmware()
                found |= {"application": running and running.app, "listening": board.is_listening()}
    say(found)


def _error(call: Any) -> str:
    try:
        call()
    except (OSError, serial.SerialException, usb.core.USBError) as error:
        return type(error).__name__
    return ""


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
