"""What runs inside a rack of test devices about plugging and sysfs: ``python plugclients.py NAME`` prints JSON.

Everything here is an unmodified program or library: pyudev, pyserial, pyusb, usbutils, udevadm.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyudev
import serial
import serial.tools.list_ports
import usb.core
import usb.util

from tests.virtual.devices import Steering
from tests.virtual.kernelclients import PATIENCE, errno_of, monitor, run, wait_for


def stopped_monitor(steering: Steering) -> Any:
    """One listener is stopped with its buffer full; another one hears everything."""
    command = ("stdbuf", "-oL", "udevadm", "monitor", "--udev")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as stopped:
        assert stopped.stdout is not None
        stopped.stdout.readline()
        stopped.send_signal(signal.SIGSTOP)
        events = monitor(subsystem="usb", device_type="usb_device")
        for _ in range(100):
            steering.cycle("1-1", 1)
            wait_for(events, "remove", "1-1")
        stopped.kill()
    return "done"


def held_tty(steering: Steering) -> Any:
    """A port that stays open over a replug; another one that is closed."""

    def ttys() -> list[str]:
        return sorted(path.name for path in Path("/dev").glob("ttyACM*"))

    steering.plug("1-1", "cdc")
    steering.plug("1-2", "cdc", "cafe")
    held = os.open("/dev/ttyACM1", os.O_RDWR | os.O_NOCTTY)
    copy = os.dup(held)
    for port in ("1-1", "1-2"):
        steering.unplug(port)
    found = {"gone": ttys()}
    steering.plug("1-2", "cdc", "cafe")
    steering.plug("1-1", "cdc")
    found["held"] = ttys()
    link = next(Path("/dev/serial/by-id").glob("*cafe*"))
    found["by_id"] = [os.path.basename(os.path.realpath(link))]
    os.close(held)
    steering.unplug("1-1")
    steering.plug("1-1", "cdc")
    found["copy held"] = ttys()
    os.close(copy)
    for port in ("1-1", "1-2"):
        steering.unplug(port)
    steering.plug("1-1", "cdc")
    steering.plug("1-2", "cdc", "cafe")
    found["closed"] = ttys()
    return found


def closed_at_once(steering: Steering) -> Any:
    """A program that closes in the moment of the unplug, many times: the name must not be lost."""

    def read_and_close(held: list[int]) -> None:
        with contextlib.suppress(OSError):
            os.read(held[0], 1)
        for descriptor in held:
            os.close(descriptor)

    for _ in range(40):
        steering.plug("1-1", "cdc")
        held = [os.open("/dev/ttyACM0", os.O_RDWR | os.O_NOCTTY) for _ in range(3)]
        reader = threading.Thread(target=read_and_close, args=(held,))
        reader.start()
        steering.unplug("1-1")
        reader.join()
    steering.plug("1-1", "cdc")
    return sorted(path.name for path in Path("/dev").glob("ttyACM*"))


def reset_by_usbreset(steering: Steering) -> Any:
    """usbutils' usbreset on a board whose port is open and whose vendor interface is claimed."""
    events = monitor()
    steering.plug("1-1", "cdc")
    wait_for(events, "bind", "1-1")
    device = usb.core.find(idVendor=0x2B04)
    usb.util.claim_interface(device, 2)
    port = os.open("/dev/ttyACM0", os.O_RDWR | os.O_NOCTTY)
    reset = run("usbreset", "2b04:c00c")
    found: dict[str, Any] = {"status": reset.returncode, "said": reset.stdout.split()[-1]}
    seen = []
    while (event := events.poll(PATIENCE)) is not None:
        seen.append([event.action, event.sys_name])
        if seen[-1] == ["bind", "1-1:1.0"]:
            break
    found["events"] = seen
    found["read"] = os.read(port, 1).decode()
    found["write"] = errno_of(lambda: os.write(port, b"x"))
    found["driver of 2"] = os.path.exists("/sys/bus/usb/devices/1-1:1.2/driver")
    with serial.Serial("/dev/ttyACM1", timeout=PATIENCE) as again:
        again.write(b"again\n")
        found["answer"] = again.read_until(b"again\n").decode()
    os.close(port)
    return found


def boards_of_one_hub(steering: Steering) -> Any:
    """Three boards plugged in at once; then all pulled and plugged in again without a pause."""
    ports = ("1-1", "1-2", "1-3")
    events = monitor(subsystem="usb", device_type="usb_device")

    def until_bound(what: Callable[[], None]) -> list[list[str]]:
        what()
        seen: list[list[str]] = []
        while len([one for one in seen if one[0] == "bind"]) < len(ports):
            event = events.poll(PATIENCE)
            seen.append([event.action, event.sys_name])
        return seen

    def plug() -> None:
        for port in ports:
            steering.plug(port, "cdc", port)

    def replug() -> None:
        for port in ports:
            steering.unplug(port)
            steering.plug(port, "cdc", port)

    found = {"plugged": until_bound(plug), "again": until_bound(replug)}
    run("udevadm", "settle")
    names = [serial.tools.list_ports.comports()]
    return found | {"ttys": sorted(port.device for port in names[0])}


def triggered(steering: Steering) -> Any:
    """``udevadm trigger --settle``, and what is there afterwards."""
    steering.plug("1-1", "cdc")
    steering.plug("1-2", "dfu", "cafe")
    events = monitor()
    status = run(
        "udevadm", "trigger", "--settle", "--subsystem-match=usb", "--subsystem-match=tty"
    ).returncode
    seen = {}
    while (event := events.poll(0)) is not None:
        seen[event.sys_name] = [event.action, "SYNTH_UUID" in event.properties, event.get("ID_SERIAL_SHORT")]
    whole = run("udevadm", "trigger", "--settle").returncode
    found = pyudev.Context().list_devices(subsystem="usb", DEVTYPE="usb_device")
    return {
        "status": [status, whole],
        "events": seen,
        "there": sorted([device.sys_name, device.get("ID_SERIAL_SHORT")] for device in found),
    }


def tree(steering: Steering) -> Any:
    """The directory of a Boron in DFU mode in the words of the recording."""
    steering.plug("1-4", "boron", "e00fce68c3d4e5f607182930")
    root = Path("/sys/bus/usb/devices/1-4").resolve()
    found: dict[str, Any] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = "-> " + os.readlink(path)
        elif path.name == "power":
            found[name + "/"] = sorted(one.name for one in path.iterdir() if not one.is_symlink())
        elif path.is_file() and path.parent.name != "power":
            try:
                content = "b:" + str(path.read_bytes())[2:-1]
            except PermissionError:
                content = "!EACCES"
            found[name] = [oct(path.stat().st_mode & 0o777), content]
    return found


def written(steering: Steering) -> Any:
    """Writes to sysfs: each with its errno and with what is there afterwards."""
    steering.plug("1-1", "cdc")
    usb_bus = Path("/sys/bus/usb")
    device = usb_bus / "devices/1-1"
    found: list[Any] = []

    def state() -> str:
        present = [one.name for one in Path("/dev").glob("ttyACM*")]
        present += [one.name for one in (usb_bus / "devices").glob("1-1*")]
        return " ".join(sorted(present))

    def write(path: Path, text: str) -> None:
        def to() -> None:
            with path.open("w") as file:
                file.write(text)

        name = str(path).removeprefix(str(usb_bus)).removeprefix("/")
        found.append([name, text, errno_of(to), state()])

    cdc_acm = usb_bus / "drivers/cdc_acm"
    write(device / "devnum", "7")
    write(device / "uevent", "explode\n")
    write(cdc_acm / "unbind", "1-1:1.2")
    write(cdc_acm / "unbind", "1-1:1.1")
    write(cdc_acm / "bind", "1-1:1.1")
    write(cdc_acm / "bind", "1-1:1.0\n")
    write(cdc_acm / "bind", "1-1:1.0")
    write(usb_bus / "drivers/usb/unbind", "1-1")
    write(usb_bus / "drivers_probe", "1-1")
    write(device / "bConfigurationValue", "3")
    write(device / "bConfigurationValue", "0")
    write(device / "bConfigurationValue", "1")
    write(device / "authorized", "maybe")
    write(device / "authorized", "0")
    write(device / "authorized", "1")
    interface = usb_bus / "devices/1-1:1.0"
    write(interface / "authorized", "0")
    write(cdc_acm / "bind", "1-1:1.0")
    write(interface / "authorized", "1")
    write(usb_bus / "drivers_probe", "1-1:1.0")
    write(cdc_acm / "new_id", "2b04")
    write(usb_bus / "devices/usb1/authorized", "0")
    write(usb_bus / "drivers/hub/unbind", "1-0:1.0")
    port = usb_bus / "devices/1-0:1.0/usb1-port1"
    write(port / "disable", "1")
    write(port / "disable", "0")
    write(device / "remove", "1")
    steering.unplug("1-1")
    write(usb_bus / "devices/usb1/authorized_default", "0")
    steering.plug("1-1", "cdc")
    write(device / "authorized", "1")
    return found


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](Steering())))
