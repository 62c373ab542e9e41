"""Writing and reading a board's flash in DFU mode with the unmodified ``dfu-util``. USB fact sheet 5.1, 5.3, 5.5.

The board is chosen by USB ids and port path: serial strings of old bootloaders are all the same. Outcomes are
judged by what ``dfu-util`` prints and by the board's re-enumeration; its exit status alone says little, since the
board may be gone before the last question is asked.
"""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hil.errors import FlashError
from hil.usb.scratch import scratch
from hil.usb.sysfs import UsbBoard

Progress = Callable[[int], None]  # bytes so far
Runner = Callable[[list[str], Callable[[str], None], float], "Outcome"]

INTERNAL_FLASH, DCT = 0, 1  # alternate settings
TIMEOUT = 120.0  # seconds for one run of dfu-util
TRIES = 3  # a bootloader whose last transfer was broken off may refuse the first commands

_PROGRESS = re.compile(r"^(Erase|Download|Upload)\s*\t\[[= ]*\]\s+(\d+)%\s+(\d+) bytes")
_DOWNLOADED = "File downloaded successfully"
_LEAVING = "Submitting leave request"

# What dfu-util prints, what it means, what helps. The first that occurs counts.
_CAUSES: tuple[tuple[str, str, str], ...] = (
    (
        "No DFU capable USB device available",
        "the board is not there in DFU mode",
        "look at `hil boards`; enter DFU by hand: hold MODE, press RESET, let go of MODE when the light is yellow",
    ),
    (
        "LIBUSB_ERROR_ACCESS",
        "no permission to open the board",
        "install the udev rules: `hil doctor` prints how",
    ),
    ("is in protected mode", "the board is protected", "disable device protection before using it in a rack"),
    ("LIBUSB_ERROR_NO_DEVICE", "the board was unplugged half-way", "plug it in: the next flash recovers it"),
    ("LIBUSB_ERROR_BUSY", "another program holds the board", "stop the other program"),
    (
        "is not writeable",
        "the address is in an area that DFU may not write",
        "the image is for another memory map",
    ),
    (
        "can not be erased",
        "the address is in an area that DFU may not erase",
        "the image is for another memory map",
    ),
    ("is not readable", "the address is in an area that DFU may not read", ""),
    ("dfuERROR", "the bootloader reports an error", "flash again; if it repeats, reset the board by hand"),
    (
        "get_status",
        "the board stopped answering: unplugged half-way?",
        "plug it in: the next flash recovers it",
    ),
    (
        "LIBUSB_ERROR_IO",
        "the board stopped answering: unplugged half-way?",
        "plug it in: the next flash recovers it",
    ),
    (
        "LIBUSB_ERROR_PIPE",
        "the bootloader refused a command",
        "flash again; if it repeats, reset the board by hand",
    ),
    (
        "LIBUSB_ERROR_TIMEOUT",
        "the bootloader did not answer in time",
        "look at cable and hub, then flash again",
    ),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended. ``code`` is ``None`` when it was ended for taking too long."""

    code: int | None
    output: str


def parse_progress(line: str) -> tuple[str, int, int] | None:
    """Phase (``Erase``, ``Download``, ``Upload``), per cent and bytes of a progress line, or ``None``."""
    found = _PROGRESS.match(line)
    return (found[1], int(found[2]), int(found[3])) if found else None


def explain(outcome: Outcome) -> tuple[str, str]:
    """Cause and remedy of a failed run, in words."""
    if outcome.code is None:
        return "dfu-util took too long and was ended", "look at cable and hub, then flash again"
    if outcome.code < 0:
        return f"dfu-util was ended by signal {-outcome.code}", "flash again"
    for text, cause, hint in _CAUSES:
        if text in outcome.output:
            return cause, hint
    lines = [line for line in outcome.output.splitlines() if line.strip() and parse_progress(line) is None]
    return f"dfu-util ended with status {outcome.code}: {lines[-1].strip() if lines else 'no output'}", ""


def run_dfu_util(arguments: list[str], on_line: Callable[[str], None], timeout: float) -> Outcome:
    """Run ``dfu-util``, giving each line (progress too) to ``on_line``. Raises ``FlashError`` if it is missing."""
    try:
        process = subprocess.Popen(
            ["dfu-util", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except FileNotFoundError as error:
        raise FlashError("dfu-util is not installed", hint="sudo apt-get install dfu-util") from error
    late = threading.Event()

    def end() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(timeout, end)
    timer.start()
    try:
        output = _read_lines(process, on_line)
        code = process.wait()
    finally:
        timer.cancel()
        if process.poll() is None:
            process.kill()
            process.wait()
    return Outcome(None if late.is_set() else code, output)


def _read_lines(process: subprocess.Popen[bytes], on_line: Callable[[str], None]) -> str:
    """The whole output; a progress bar's carriage returns end lines too."""
    assert process.stdout is not None
    kept: list[str] = []
    line = b""
    with process.stdout as stream:
        while data := stream.read1(4096):  # type: ignore[attr-defined]
            *whole, line = re.split(rb"[\r\n]", line + data)
            for each in whole:
                text = each.decode("utf-8", "replace")
                on_line(text)
                kept.append(text)
    kept.append(line.decode("utf-8", "replace"))
    return "\n".join(text for text in kept if text.strip())


def _refused(outcome: Outcome) -> bool:
    """Whether the bootloader is there and turned a command away: each run of dfu-util brings it back to idle."""
    return bool(outcome.code) and any(text in outcome.output for text in ("LIBUSB_ERROR_PIPE", "dfuERROR"))


class DfuUtil:
    """One board in DFU mode. ``name`` is what errors call it, such as its slot. Methods raise ``FlashError``.

    Addresses are those of the wire: external flash of Gen 3 boards begins at 0x80000000, the DCT at 0.
    """

    def __init__(self, board: UsbBoard, name: str, runner: Runner = run_dfu_util) -> None:
        self.board = board
        self.name = name
        self._run = runner

    def download(self, alt: int, address: int, data: bytes, progress: Progress | None = None) -> None:
        """Write ``data`` at ``address`` of alternate setting ``alt``; the board stays in DFU mode."""
        with scratch() as folder:
            file = folder / "image.bin"
            file.write_bytes(data)
            options = ["-a", str(alt), "-s", f"0x{address:08x}", "-D", str(file)]
            outcome = self._call(options, progress)
        if outcome.code != 0 or _DOWNLOADED not in outcome.output:
            raise self._error(f"write {len(data)} bytes at 0x{address:08x}", outcome)

    def upload(self, alt: int, address: int, size: int) -> bytes:
        """Read ``size`` bytes at ``address`` of alternate setting ``alt``."""
        with scratch() as folder:
            file = folder / "image.bin"
            options = ["-a", str(alt), "-s", f"0x{address:08x}:{size}", "-U", str(file)]
            outcome = self._call(options, None)
            data = file.read_bytes() if file.exists() else b""
        if outcome.code != 0:
            raise self._error(f"read {size} bytes at 0x{address:08x}", outcome)
        if len(data) != size:
            raise self._error(f"read {size} bytes at 0x{address:08x}", outcome, f"{len(data)} bytes")
        return data

    def leave(self) -> None:
        """Send the board back to its application. That it went shows when it enumerates anew."""
        outcome = self._call(["-a", "0", "-s", ":leave"], None)
        if _LEAVING not in outcome.output:
            raise self._error("leave DFU mode", outcome)

    def _call(self, options: list[str], progress: Progress | None) -> Outcome:
        def on_line(line: str) -> None:
            step = parse_progress(line)
            if step is not None and step[0] == "Download" and progress is not None:
                progress(step[2])

        ids = f"{self.board.platform.vid:04x}:{self.board.platform.dfu_pid:04x}"
        arguments = ["-d", ids, "-p", self.board.port, "-i", "0", *options]
        for _ in range(TRIES - 1):
            outcome = self._run(arguments, on_line, TIMEOUT)
            if not _refused(outcome):
                return outcome
            if "-U" in options:
                Path(options[-1]).unlink(missing_ok=True)
        return self._run(arguments, on_line, TIMEOUT)

    def _error(self, what: str, outcome: Outcome, found: str = "") -> FlashError:
        cause, hint = explain(outcome)
        where = f"{self.name} ({self.board.platform.name} at USB port {self.board.port})"
        return FlashError(f"cannot {what} on {where}", found=found or cause, hint=hint)
