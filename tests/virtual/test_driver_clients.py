"""Issue 6, point 14: ttys and USB nodes as a real Linux 6.1 gives them (the comparison's rows 8 to 11 and 13)."""

from __future__ import annotations

import errno
import json
import sys
from pathlib import Path
from typing import Any

from tests.virtual.test_rack_run import run

TTY_CLIENTS, USB_CLIENTS = "ttyclients.py", "usbclients.py"


def client(clients: str, name: str) -> Any:
    result = run(sys.executable, str(Path(__file__).parent / clients), name)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_frames_are_kept_and_sent_and_each_open_sends_the_control_lines_again() -> None:
    found = client(TTY_CLIENTS, "settings")
    assert found["stty"].pop("0")[1], (
        "stty itself fails at speed 0 on every tty: it compares a speed that has two forms"
    )
    assert set(map(tuple, found["stty"].values())) == {(0, True)}, found["stty"]
    seen = found["seen"]
    assert [coding for kind, coding in seen if kind == "coding"] == [
        "9600 8N1",
        "19200 7E2",
        "19200 5N1",
        "19200 8M1",
        "300 8M1",
        "4800 7E2",
    ]
    up, no_dtr = ["lines", [True, True]], ["lines", [False, True]]
    # stty at B0, stty -a which opens without raising anything, then a speed again.
    dropped = seen.index(no_dtr)
    assert seen[dropped + 1 : dropped + 3] == [up, ["coding", "300 8M1"]]
    opens = seen[:dropped].count(up)
    assert opens == 1 + 7, "pyserial, then two stty for each of three settings, and the one that said 0"


def test_requests_of_serial_libraries() -> None:
    assert client(TTY_CLIENTS, "requests") == {
        "line": 1,
        "delays": [50, 3000],
        "low latency": True,
        "delay": errno.EPERM,
        "counters": True,
        "break on": errno.EOPNOTSUPP,
        "break off": errno.EOPNOTSUPP,
        "mode": "crw-rw----",
    }


def test_a_wait_for_a_change_of_the_line_ends_by_a_signal_or_an_unplug() -> None:
    assert client(TTY_CLIENTS, "waits") == {"interrupted": True, "ring": errno.ENODEV, "carrier": None}


def test_a_blocked_read_gets_eio_at_the_unplug_and_then_the_end() -> None:
    assert client(TTY_CLIENTS, "blocked_reader") == [[errno.EIO, "", errno.EIO]] * 3


def test_who_has_no_tty_of_a_board_sees_his_own() -> None:
    """Every client's TCGETS is looked at: other terminals and files must not change by it."""
    script = (
        "import os, pty, termios\n"
        "_, own = pty.openpty()\n"
        "wanted = termios.tcgetattr(own)\n"
        "wanted[2] &= ~termios.CREAD\n"
        "try: termios.tcsetattr(own, 0, wanted)\n"
        "except termios.error as error: print(error.args[0])\n"
        "print(os.isatty(own), os.isatty(os.open('/dev/null', 0)), bool(termios.tcgetattr(own)[2] & termios.CREAD))"
    )
    assert run(sys.executable, "-c", script).stdout == f"{errno.EINVAL}\nTrue False True\n"


def test_the_usb_node_as_a_real_kernel_gives_it() -> None:
    """Issue 6, point 14: real-kernel comparison, row 13 and the list of usbfs requests; mmap is one that FUSE lacks."""
    found = client(USB_CLIENTS, "usbfs_node")
    links = found.pop("links")
    assert found == {
        "capabilities": 0x1FD & ~0x20,
        "way": [2, 1],
        "length": 18 + 84,
        "vendor": "042b",
        "seek": 8,
        "there": "042b",
        "write": 22,
        "mmap": 19,
        "signal": True,
        "fstat": True,
        "read": 19,
        "pread": 19,
        "lseek": 0,
        "hub": 9,
        "child": True,
        "power": ["No power switching (usb 1.0)"],
    }
    assert links.startswith("/dev/bus/usb/001/")
