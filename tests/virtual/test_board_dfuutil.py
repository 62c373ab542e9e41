"""Unmodified dfu-util, pyserial and libusb with all four boards, in a rack: USB fact sheet 5.5."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.virtual.boardbench import BOARDS

ROOT = Path(__file__).resolve().parents[2]
PORTS = {"photon": "1-1", "electron": "1-2", "argon": "1-3", "boron": "1-4"}
USER = {"photon": "0x080A0000", "electron": "0x08080000", "argon": "0x000B4000", "boron": "0x000D4000"}
SERVER_KEY = {"photon": (2082, 512), "electron": (3298, 320), "argon": (3298, 320), "boron": (3298, 320)}

# Runs inside the rack: prints one JSON object about one board.
VISIT = """
import json, pathlib, subprocess, sys, termios, time
import pyudev, serial, usb.core

name, port, start, key, size = sys.argv[1:]
context = pyudev.Context()

def wait(product):
    deadline = time.monotonic() + 20
    monitor = pyudev.Monitor.from_netlink(context)
    monitor.filter_by("usb", "usb_device")
    monitor.start()
    while time.monotonic() < deadline:
        for device in context.list_devices(subsystem="usb", DEVTYPE="usb_device"):
            if device.sys_name == port and device.get("ID_MODEL_ID", "").startswith(product):
                return device
        monitor.poll(1)
    raise SystemExit(f"{name} did not come back as {product}xx")

def dfu(*arguments):
    command = ["dfu-util", "-p", port, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr

def request(device, number, payload):
    handle = device.ctrl_transfer(0xC0, 1, len(payload), number, 64)[6]
    device.ctrl_transfer(0x40, 3, 0, handle, payload)
    while (reply := bytes(device.ctrl_transfer(0xC0, 2, 0, handle, 64)))[4] == 2:
        time.sleep(0.01)
    return bytes(device.ctrl_transfer(0xC0, 4, 0, handle, int.from_bytes(reply[6:10], "little")))

board = wait("c0")
ttys = [tty for tty in context.list_devices(subsystem="tty") if f"/{port}/" in tty.device_path]
try:
    serial.Serial(ttys[0].device_node, 14400).close()
except (OSError, termios.error):
    pass  # the board is gone before the port is open or closed: that is success
wait("d0")
listed = [line for line in dfu("-l")[1].splitlines() if f'path="{port}"' in line]
settings = sorted(line.split('name="')[1].split('"')[0] for line in listed)
record = pathlib.Path(f"{name}.record")
record.write_bytes(bytes(range(256)) * 2)
with record.open("r+b") as file:
    file.truncate(int(size))
written = dfu("-a", "1", "-s", key, "-D", str(record))[0]
read = dfu("-a", "1", "-s", f"{key}:{size}", "-U", f"{name}.read")[0]
same = pathlib.Path(f"{name}.read").read_bytes() == record.read_bytes()
protected = dfu("-a", "0", "-s", "0x08000000" if start.startswith("0x08") else "0x0", "-D", str(record))
flashed = dfu("-a", "0", "-s", f"{start}:leave", "-D", f".hil/images/blinker@1/{name}.bin")
wait("c0")
device = usb.core.find(custom_match=lambda one: one.port_numbers == (int(port[2:]),))
info = json.loads(request(device, 10, b'{"c":"info"}'))
print(json.dumps({"settings": settings, "written": written, "read": read, "same": same, "protected": protected,
                  "flashed": flashed, "info": info}))
"""


@pytest.fixture(scope="module")
def visits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    """What a visit to each board, all at once in one rack, found."""
    place = tmp_path_factory.mktemp("rack")
    (place / "visit.py").write_text(VISIT)
    visit = "; ".join(
        f"{sys.executable} visit.py {name} {PORTS[name]} {USER[name]} {SERVER_KEY[name][0]} {SERVER_KEY[name][1]}"
        f" > {name}.json & "
        for name in PORTS
    ).replace("; ", "")
    run = [sys.executable, "-c", "from hil.cli.rack import command; command()", "run"]
    run += ["--rig", str(ROOT / "rigs/virtual.toml"), "--state", str(place / "state"), "--", "sh", "-c"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*run, visit + "wait"], cwd=place, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    found = {name: (place / f"{name}.json").read_text() for name in PORTS}
    assert all(found.values()), done.stderr
    return {name: json.loads(text) for name, text in found.items()}


@pytest.mark.parametrize(("name", "device_os"), [(name, BOARDS[name][0]) for name in BOARDS])
def test_a_board_is_flashed_and_runs_what_was_flashed(
    visits: dict[str, dict[str, object]], name: str, device_os: str
) -> None:
    visit = visits[name]
    info = visit["info"]
    assert isinstance(info, dict)
    assert (info["app"], info["version"], info["os"], info["boots"]) == ("blinker", 1, device_os, 2)


@pytest.mark.parametrize("name", PORTS)
def test_dfu_util_sees_and_uses_every_memory(visits: dict[str, dict[str, object]], name: str) -> None:
    visit = visits[name]
    settings = visit["settings"]
    assert isinstance(settings, list)
    assert len(settings) == (2 if name in ("photon", "electron") else 3)
    assert any("@DCD Flash   /0x" in text for text in settings) is (name == "boron")
    assert (visit["written"], visit["read"], visit["same"]) == (0, 0, True)


@pytest.mark.parametrize("name", PORTS)
def test_dfu_util_refuses_the_protected_pages(visits: dict[str, dict[str, object]], name: str) -> None:
    protected = visits[name]["protected"]
    assert isinstance(protected, list)
    status, said = protected
    assert status != 0
    assert "not writeable" in said


@pytest.mark.parametrize("name", PORTS)
def test_only_gen3_reports_manifest(visits: dict[str, dict[str, object]], name: str) -> None:
    flashed = visits[name]["flashed"]
    assert isinstance(flashed, list)
    assert "File downloaded successfully" in flashed[1]
    assert ("dfuMANIFEST" in flashed[1]) is (name in ("argon", "boron"))
