"""As ``kernelclients``, for what a tty of cdc_acm does: stty, pyserial, and requests by Python's own fcntl."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import stat
import struct
import sys
import termios
import threading
import time
from pathlib import Path
from typing import Any

import serial

from tests.virtual.devices import Steering
from tests.virtual.kernelclients import PATIENCE, errno_of, run

TTY = "/dev/ttyACM0"
SERIAL = struct.Struct("iiIiiiiiHcc4xHH4x28x")
LOW_LATENCY = 0x2000


def settings(steering: Steering) -> Any:
    """What stty sets, reads back, and the board sees of it; each stty opens the port and closes it."""
    steering.plug("1-1", "cdc")
    found = {}
    with serial.Serial(TTY, 9600, timeout=PATIENCE):
        for words in (
            "19200 cs7 parenb -parodd cstopb",
            "cs5 -cstopb -parenb",
            "cs8 parenb parodd cmspar",
            "0",
            "300",
        ):
            status = run("stty", "-F", TTY, *words.split()).returncode
            shown = run("stty", "-F", TTY, "-a").stdout.split()
            found[words] = [status, all(word in shown for word in words.split() if not word.isdigit())]
    with serial.Serial(TTY, 4800, serial.SEVENBITS, serial.PARITY_EVEN, serial.STOPBITS_TWO) as port:
        port.set_low_latency_mode(True)
    deadline = time.monotonic() + PATIENCE
    while (seen := steering.seen("1-1"))[-1] != ["lines", [False, False]] and time.monotonic() < deadline:
        pass
    return {"stty": found, "seen": seen}


def requests(steering: Steering) -> Any:
    """Requests that serial libraries make."""
    steering.plug("1-1", "cdc")
    steering.plug("1-2", "cdc")
    descriptor = os.open("/dev/ttyACM1", os.O_RDWR | os.O_NOCTTY)
    info = list(SERIAL.unpack(fcntl.ioctl(descriptor, termios.TIOCGSERIAL, bytes(SERIAL.size))))
    low, slow = info.copy(), info.copy()
    low[4] |= LOW_LATENCY
    slow[8] += 1
    termios.tcsendbreak(descriptor, 0)
    return {
        "line": info[1],
        "delays": [info[8], info[11]],
        "low latency": fcntl.ioctl(descriptor, termios.TIOCSSERIAL, SERIAL.pack(*low)) != b"",
        "delay": errno_of(lambda: fcntl.ioctl(descriptor, termios.TIOCSSERIAL, SERIAL.pack(*slow))),
        "counters": set(fcntl.ioctl(descriptor, termios.TIOCGICOUNT, b"x" * 80)) == {0},
        "break on": errno_of(lambda: fcntl.ioctl(descriptor, TIOCSBRK)),
        "break off": errno_of(lambda: fcntl.ioctl(descriptor, TIOCCBRK)),
        "mode": stat.filemode(os.fstat(descriptor).st_mode),
    }


TIOCSBRK, TIOCCBRK = 0x5427, 0x5428
TIOCMIWAIT, CARRIER, RING = 0x545C, 0x040, 0x080


class Interrupted(Exception):
    """A signal's handler ran."""


def waits(steering: Steering) -> Any:
    """Who waits for a change of the line: a signal ends it, and an unplug."""

    def handler(_number: int, _frame: object) -> None:
        raise Interrupted

    steering.plug("1-1", "cdc")
    descriptor = os.open(TTY, os.O_RDWR | os.O_NOCTTY)
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        fcntl.ioctl(descriptor, TIOCMIWAIT, RING)
        interrupted = False
    except Interrupted:
        interrupted = True
    results: dict[int, int | None] = {}

    def wait(lines: int) -> None:
        results[lines] = errno_of(lambda: fcntl.ioctl(descriptor, TIOCMIWAIT, lines))

    threads = [threading.Thread(target=wait, args=(lines,)) for lines in (RING, CARRIER)]
    for thread in threads:
        thread.start()
    # Both are in the kernel when their calls are said to be there.
    while any(b"ioctl" not in where_from(thread) for thread in threads):
        pass
    steering.unplug("1-1")
    for thread in threads:
        thread.join(PATIENCE)
    return {"interrupted": interrupted, "ring": results[RING], "carrier": results[CARRIER]}


def where_from(thread: threading.Thread) -> bytes:
    """The system call that ``thread`` is in, by its number (x86-64 and arm64)."""
    number = Path(f"/proc/self/task/{thread.native_id}/syscall").read_text().split()[0]
    return b"ioctl" if number in ("16", "29") else number.encode()


def blocked_reader(steering: Steering) -> Any:
    """A read that waits at the unplug, one after it, and a write."""
    found = []
    for port in ("1-1", "1-2", "1-3"):
        steering.plug(port, "cdc")
        (tty,) = Path("/dev").glob("ttyACM*")  # a name is free again a moment after its last user has gone
        descriptor = os.open(tty, os.O_RDWR | os.O_NOCTTY)
        timer = threading.Timer(0.1, steering.unplug, (port,))
        timer.start()
        blocked = errno_of(lambda descriptor=descriptor: os.read(descriptor, 10))  # type: ignore[misc]
        found.append(
            [
                blocked,
                os.read(descriptor, 10).decode(),
                errno_of(lambda descriptor=descriptor: os.write(descriptor, b"x")),  # type: ignore[misc]
            ]
        )
        os.close(descriptor)
        timer.join()
    return found


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](Steering())))
