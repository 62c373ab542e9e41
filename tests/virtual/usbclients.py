"""As ``kernelclients``, for the nodes below /dev/bus/usb: requests by Python's own fcntl, and a rack that stops."""

from __future__ import annotations

import ctypes
import fcntl
import json
import mmap
import os
import signal
import struct
import sys
from pathlib import Path
from typing import Any

import serial
import usb.core

from tests.virtual.devices import Steering
from tests.virtual.kernelclients import PATIENCE, errno_of, run


def usbfs_node(steering: Steering) -> Any:
    """The node itself: capabilities, the way to the device, positions, what it cannot do, and after an unplug."""
    steering.plug("1-3", "cdc")
    number = usb.core.find(idVendor=0x2B04).address
    descriptor = os.open(f"/dev/bus/usb/001/{number:03d}", os.O_RDWR)
    got: list[int] = []
    signal.signal(signal.SIGUSR1, lambda number, _frame: got.append(number))
    fcntl.ioctl(descriptor, 0x8010550E, struct.pack("I4xQ", signal.SIGUSR1, 0))
    found: dict[str, Any] = {
        "capabilities": struct.unpack("I", fcntl.ioctl(descriptor, 0x8004551A, bytes(4)))[0],
        "way": struct.unpack("IIIIB7s", fcntl.ioctl(descriptor, 0x80185520, bytes(24)))[3:5],
        "length": len(os.read(descriptor, 4096)),
        "vendor": os.pread(descriptor, 2, 8).hex(),
        "seek": os.lseek(descriptor, 8, os.SEEK_SET),
        "there": os.read(descriptor, 2).hex(),
        "write": errno_of(lambda: os.write(descriptor, b"x")),
        "mmap": errno_of(lambda: mmap.mmap(descriptor, 18)),
        "links": os.path.realpath(f"/dev/char/189:{number - 1}"),
    }
    size = os.fstat(descriptor).st_size
    steering.unplug("1-3")
    found |= {
        "signal": got == [signal.SIGUSR1],
        "fstat": os.fstat(descriptor).st_size == size > 0,
        "read": errno_of(lambda: os.read(descriptor, 18)),
        "pread": errno_of(lambda: os.pread(descriptor, 18, 0)),
        "lseek": os.lseek(descriptor, 0, os.SEEK_SET),
    }
    os.close(descriptor)
    hub = os.open("/dev/bus/usb/001/001", os.O_RDWR)
    buffer = mmap.mmap(-1, 4096)
    address = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
    steering.plug("1-5", "cdc")
    found["hub"] = fcntl.ioctl(hub, 0xC0105512, bytearray(struct.pack("iIQ", 0, 0x80805513, address)))
    found["child"] = buffer[5] == usb.core.find(idVendor=0x2B04).address
    found["power"] = [
        line.strip() for line in run("lsusb", "-v", "-s", "1:1").stdout.splitlines() if "ower switch" in line
    ]
    return found


def stop(pid: int) -> None:
    """Stops the rack, and returns when all its threads have."""
    # Opened before and without Python's own files: those ask whether they are terminals, which the rack answers.
    tasks = [os.open(task / "stat", os.O_RDONLY) for task in Path(f"/proc/{pid}/task").iterdir()]
    os.kill(pid, signal.SIGSTOP)
    while any(b" T " not in os.pread(task, 4096, 0) for task in tasks):
        pass


def rack_stopped(steering: Steering) -> Any:
    """SIGSTOP of the rack: who waits for it gets an error in the end."""
    steering.plug("1-1", "cdc")
    device = usb.core.find(idVendor=0x2B04)
    device.ctrl_transfer(0xC0, 0x50, 0, 0, 8)
    port = serial.Serial("/dev/ttyACM0", timeout=PATIENCE)
    stop(steering.pid())
    found = {"usb": errno_of(lambda: device.ctrl_transfer(0xC0, 0x50, 0, 0, 8)) is not None}

    def ask_for_lines() -> object:
        return port.cts

    return found | {"serial": errno_of(ask_for_lines) is not None}


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](Steering())))
