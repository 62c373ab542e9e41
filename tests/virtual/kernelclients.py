"""What runs inside a rack of test devices: ``python kernelclients.py NAME`` prints one JSON value to judge.

Everything here is an unmodified program or library: pyudev, pyserial, pyusb, dfu-util, usbutils.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyudev
import serial
import serial.tools.list_ports
import usb.core
import usb.util

from tests.virtual.devices import Steering

FIRMWARE = bytes(range(256)) * 512
PATIENCE = 10.0


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def monitor(**filters: str) -> pyudev.Monitor:
    found = pyudev.Monitor.from_netlink(pyudev.Context())
    if filters:
        found.filter_by(**filters)
    found.start()
    return found


def wait_for(source: pyudev.Monitor, action: str, device: str) -> pyudev.Device:
    while (event := source.poll(PATIENCE)) is not None:
        if event.action == action and event.sys_name == device:
            return event
    raise TimeoutError(f"no {action} of {device}")


def programs(steering: Steering) -> Any:
    """What tools that only look say."""
    steering.plug("1-1", "cdc")
    steering.plug("1-3", "dfu", "cafe")
    tty = pyudev.Devices.from_device_file(pyudev.Context(), "/dev/ttyACM0")
    found = pyudev.Context().list_devices(subsystem="usb", DEVTYPE="usb_device")
    return {
        "enumerated": sorted([device.sys_name, device.get("ID_SERIAL_SHORT")] for device in found),
        "tty_parent": tty.find_parent("usb", "usb_device").sys_name,
        "tty_path": tty.properties["ID_PATH"],
        "tagged": [device.sys_name for device in pyudev.Context().list_devices(tag="seat")],
        "by_id": os.path.realpath(tty.properties["DEVLINKS"].split()[0]),
        "tree": run("lsusb", "-t").stdout,
        "verbose": run("lsusb", "-v").stdout,
        "ports": run(sys.executable, "-m", "serial.tools.list_ports", "-v").stdout,
        "dfu": run("dfu-util", "-l").stdout,
    }


def serial_line(steering: Steering) -> Any:
    """Echo, control lines, speeds; then what the device saw."""
    steering.plug("1-1", "cdc")
    with serial.Serial("/dev/ttyACM0", 28800, timeout=PATIENCE) as port:
        port.write(b"ping\n")
        answer = port.read_until(b"ping\n").decode()
        port.dtr = False
        port.rts = False
        lines = [port.cts, port.dsr]
        with serial.Serial("/dev/ttyACM0", 28800, exclusive=None) as second:
            second.dtr = True
        port.baudrate = 123456
    # The rack hears of the close a moment later.
    deadline = time.monotonic() + PATIENCE
    while (seen := steering.seen("1-1"))[-1] != ["lines", [False, False]] and time.monotonic() < deadline:
        pass
    return {"answer": answer, "lines": lines, "seen": seen}


def nobody_listens(steering: Steering) -> Any:
    """Bytes for a closed tty are lost; those after the open arrive."""
    steering.plug("1-1", "cdc")
    steering.send("1-1", "lost")
    with serial.Serial("/dev/ttyACM0", timeout=PATIENCE) as port:
        port.dtr = False
        steering.send("1-1", "x" * 200_000)
        steering.send("1-1", "kept or not, the board went on")
        read = len(port.read(1000))
        first = port.read(1)
    return {"read": read, "first": first.decode()}


def exclusive(steering: Steering) -> Any:
    """TIOCEXCL holds for others and ends with the last close."""
    import fcntl
    import termios

    steering.plug("1-1", "cdc")
    descriptor = os.open("/dev/ttyACM0", os.O_RDWR | os.O_NOCTTY)
    fcntl.ioctl(descriptor, termios.TIOCEXCL)
    try:
        os.close(os.open("/dev/ttyACM0", os.O_RDWR | os.O_NOCTTY))
        second = "opened"
    except OSError as error:
        second = str(error.errno)
    os.close(descriptor)
    # The rack hears of the close a moment later than a driver would.
    deadline = time.monotonic() + PATIENCE
    while errno_of(lambda: serial.Serial("/dev/ttyACM0").close()) and time.monotonic() < deadline:
        pass
    with serial.Serial("/dev/ttyACM0", timeout=PATIENCE) as port:
        port.write(b"again\n")
        return {"second": second, "after": port.read_until(b"again\n").decode()}


def flash_cycle(steering: Steering) -> Any:
    """Touch at 14400, flash by dfu-util, read back, leave, talk again."""
    events = monitor(subsystem="usb", device_type="usb_device")
    steering.plug("1-2", "cdc")
    wait_for(events, "bind", "1-2")
    serial.Serial("/dev/ttyACM0", 14400).close()
    wait_for(events, "remove", "1-2")
    dfu = wait_for(events, "bind", "1-2")
    Path("firmware.bin").write_bytes(FIRMWARE)
    common = ("dfu-util", "-d", "2b04:d00c", "-p", "1-2", "-a", "0")
    written = run(*common, "-s", "0x30000", "-D", "firmware.bin")
    read = run(*common, "-s", f"0x30000:{len(FIRMWARE)}", "-U", "back.bin")
    left = run(*common, "-s", "0x30000:leave", "-D", "firmware.bin")
    wait_for(events, "remove", "1-2")
    wait_for(events, "bind", "1-2")
    with serial.Serial("/dev/ttyACM0", 115200, timeout=PATIENCE) as port:
        port.write(b"back\n")
        answer = port.read_until(b"back\n").decode()
    return {
        "dfu_model": dfu.properties["ID_MODEL_ID"],
        "status": [written.returncode, read.returncode, left.returncode],
        "equal": hashlib.sha256(Path("back.bin").read_bytes()).digest() == hashlib.sha256(FIRMWARE).digest(),
        "answer": answer,
    }


def killed_in_a_transfer(steering: Steering) -> Any:
    """SIGKILL of dfu-util while it downloads; the next one flashes."""
    steering.plug("1-1", "dfu")
    Path("firmware.bin").write_bytes(FIRMWARE)
    command = ["dfu-util", "-d", "2b04:d00c", "-a", "0", "-s", "0x30000", "-D", "firmware.bin"]
    killed = []
    for _ in range(3):
        steering.pause_at_block("1-1", 3)
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            steering.wait_paused("1-1")
            process.send_signal(signal.SIGKILL)
            steering.go_on("1-1")
            killed.append(process.wait(PATIENCE))
    status = run(*command).returncode
    written = bytes.fromhex(steering.flash("1-1", 0x30000, len(FIRMWARE)))
    return {
        "killed": killed,
        "status": status,
        "equal": written == FIRMWARE,
        "open": steering.usage()["open_usb"],
    }


def unplugged_in_a_transfer(steering: Steering) -> Any:
    """The board goes while dfu-util downloads: an error, no hang."""
    steering.plug("1-1", "dfu")
    steering.fail_at_block("1-1", 5)
    Path("firmware.bin").write_bytes(FIRMWARE)
    result = run("dfu-util", "-d", "2b04:d00c", "-a", "0", "-s", "0x30000", "-D", "firmware.bin")
    return {"status": result.returncode, "error": result.stderr.splitlines()[-1]}


def errno_of(call: Callable[[], object]) -> int | None:
    try:
        call()
    except (usb.core.USBError, OSError) as error:
        return error.errno
    return None


def interfaces(steering: Steering) -> Any:
    """Who may use an interface that cdc_acm holds, by libusb."""
    steering.plug("1-1", "cdc")
    events = monitor()
    device = usb.core.find(idVendor=0x2B04)
    found: dict[str, Any] = {
        "vendor": bytes(device.ctrl_transfer(0xC0, 0x50, 1, 2, 64)).hex(),
        "stall": errno_of(lambda: device.ctrl_transfer(0xC0, 0x51, 0, 0, 8)),
        "claim": errno_of(lambda: usb.util.claim_interface(device, 0)),
        "write": errno_of(lambda: device.write(0x01, b"x")),
        "active": [device.is_kernel_driver_active(number) for number in (0, 1, 2)],
    }
    device.detach_kernel_driver(0)
    found["tty_after_detach"] = os.path.exists("/dev/ttyACM0")
    usb.util.claim_interface(device, 1)
    device.write(0x01, b"bulk")
    found["bulk"] = bytes(device.read(0x81, 64, 1000)).decode()
    found["timeout"] = errno_of(lambda: device.read(0x81, 64, 20))
    usb.util.release_interface(device, 1)
    device.attach_kernel_driver(0)
    found["tty_after_attach"] = os.path.exists("/dev/ttyACM0")
    seen = []
    while (event := events.poll(0.5)) is not None:
        seen.append([event.action, event.sys_name, event.properties.get("DRIVER")])
    return found | {"events": seen}


def unplugged_reader(steering: Steering) -> Any:
    """What a reader and a writer of the tty, and a reader of the bulk endpoint, see of an unplug."""
    steering.plug("1-1", "cdc")
    port = serial.Serial("/dev/ttyACM0", timeout=PATIENCE)
    device = usb.core.find(idVendor=0x2B04)
    threading.Timer(0.1, steering.unplug, ("1-1",)).start()
    found: dict[str, Any] = {}
    try:
        port.read(1)
        found["read"] = "nothing"
    except serial.SerialException as error:
        found["read"] = str(error)
    try:
        port.write(b"x")
        found["write"] = "nothing"
    except (serial.SerialException, OSError) as error:
        found["write"] = type(error).__name__
    found["control"] = errno_of(lambda: device.ctrl_transfer(0xC0, 0x50, 0, 0, 8))
    found["gone"] = not os.path.exists("/dev/ttyACM0")
    return found


def many_cycles(steering: Steering) -> Any:
    """200 plugs and unplugs under three monitors in processes of their own, each at the pace of the slowest."""
    steering.cycle("1-1", 2)
    before = steering.usage()
    command = (sys.executable, __file__, "count_events")
    counters = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]

    def all_say(line: str) -> None:
        for counter in counters:
            assert counter.stdout is not None
            assert counter.stdout.readline() == line

    all_say("ready\n")
    for _ in range(200):
        steering.cycle("1-1", 1)
        all_say("gone\n")
    steering.plug("1-8", "dfu")
    counts = [json.loads(counter.communicate(timeout=60)[0]) for counter in counters]
    steering.unplug("1-8")
    return {"counts": counts, "before": before, "after": steering.usage()}


def count_events(_steering: Steering) -> Any:
    """Counts events on port 1-1 until something appears on port 1-8; says each time that the board has gone."""
    events = monitor()
    print("ready", flush=True)
    counts: dict[str, int] = {}
    while (event := events.poll(PATIENCE)) is not None:
        if event.sys_name == "1-8":
            return counts
        key = f"{event.action} {event.subsystem}"
        counts[key] = counts.get(key, 0) + 1
        if (event.action, event.sys_name) == ("remove", "1-1"):
            print("gone", flush=True)
    raise TimeoutError(str(counts))


def raw_kernel_events(steering: Steering) -> Any:
    """The kernel's own messages, read from the socket as mdev does."""
    import socket

    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 15) as source:
        source.bind((0, 1))
        source.settimeout(PATIENCE)
        steering.plug("1-1", "dfu")
        return [source.recv(65536).split(b"\0")[0].decode() for _ in range(3)]


def rack_killed(steering: Steering) -> Any:
    """SIGKILL of the rack: errors, and this process lives to tell."""
    steering.plug("1-1", "cdc")
    port = serial.Serial("/dev/ttyACM0", timeout=PATIENCE)
    device = usb.core.find(idVendor=0x2B04)
    device.ctrl_transfer(0xC0, 0x50, 0, 0, 8)
    rack = steering.pid()
    descriptor = os.pidfd_open(rack)
    os.kill(rack, signal.SIGKILL)
    import select

    select.select([descriptor], [], [], PATIENCE)
    found: dict[str, Any] = {"usb": errno_of(lambda: device.ctrl_transfer(0xC0, 0x50, 0, 0, 8))}
    try:
        port.read(1)
        found["serial"] = "nothing"
    except (serial.SerialException, OSError) as error:
        found["serial"] = type(error).__name__
    with contextlib.suppress(OSError):
        port.close()
    return found


def identity(_steering: Steering) -> Any:
    """Who this process is."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return {
        "uid": os.getuid(),
        "capabilities": sorted({line.split()[1] for line in lines if line.startswith("Cap")}),
        "rack": os.environ["HIL_RACK"],
        "verify": os.environ["SYSTEMD_DEVICE_VERIFY_SYSFS"],
    }


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](Steering())))
