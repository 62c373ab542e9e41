"""Runs of dfu-util: command lines of USB fact sheet 5.5, outputs as dfu-util 0.11 prints them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hil.device.platforms import UsbMode
from hil.errors import FlashError
from hil.usb.dfu import DfuUtil, Outcome, parse_progress, run_dfu_util
from tests.usb.usb_fakes import argon

HEAD = """dfu-util 0.11

Opening DFU capable USB device...
Device ID 2b04:d00c
Device DFU version 011a
Claiming USB DFU Interface...
Setting Alternate Interface #0 ...
Determining device status...
DFU state(2) = dfuIDLE, status(0) = No error condition is present
DFU mode device DFU version 011a
Device returned transfer size 4096
DfuSe interface name: "Internal Flash   "
"""
DONE = (
    HEAD
    + """Downloading element to address = 0x000b4000, size = 5000
Erase   \t[=========================] 100%         5000 bytes
Erase    done.
Download\t[=========================] 100%         5000 bytes
Download done.
File downloaded successfully
"""
)


class Runner:
    """Stands in for dfu-util: prints ``output``; an upload writes ``read`` into the file it is told."""

    def __init__(self, output: str = DONE, code: int | None = 0, read: bytes = b"") -> None:
        self.outcome = Outcome(code, output)
        self.read = read
        self.arguments: list[str] = []
        self.written = b""

    def __call__(self, arguments: list[str], on_line: Callable[[str], None], timeout: float) -> Outcome:
        assert timeout > 0
        self.arguments = arguments
        if "-D" in arguments:
            self.written = Path(arguments[-1]).read_bytes()
        if "-U" in arguments and self.read:
            assert not Path(arguments[-1]).exists(), "dfu-util refuses to overwrite"
            Path(arguments[-1]).write_bytes(self.read)
        for line in self.outcome.output.splitlines():
            on_line(line)
        return self.outcome


def dfu(runner: Runner) -> DfuUtil:
    return DfuUtil(argon(UsbMode.DFU), "argon-1", runner)


def test_a_download_chooses_the_board_by_ids_and_port_and_the_place_by_number() -> None:
    runner = Runner()
    dfu(runner).download(0, 0xB4000, b"module")
    assert runner.arguments[:-1] == (
        ["-d", "2b04:d00c", "-p", "1-3", "-i", "0", "-a", "0", "-s", "0x000b4000", "-D"]
    )
    assert runner.written == b"module"


def test_an_upload_names_its_size_and_returns_the_bytes() -> None:
    runner = Runner(HEAD, read=bytes(320))
    assert dfu(runner).upload(1, 3298, 320) == bytes(320)
    assert runner.arguments[6:11] == ["-a", "1", "-s", "0x00000ce2:320", "-U"]


def test_a_short_upload_is_an_error() -> None:
    with pytest.raises(
        FlashError, match=r"cannot read 320 bytes at 0x00000ce2 on argon-1 [^$]*found: 100 bytes"
    ):
        dfu(Runner(HEAD, read=bytes(100))).upload(1, 3298, 320)


def test_progress_counts_downloaded_bytes_only() -> None:
    steps: list[int] = []
    dfu(Runner()).download(0, 0xB4000, bytes(5000), steps.append)
    assert steps == [5000]
    assert parse_progress("Erase   \t[==========               ]  40%         2048 bytes") == (
        "Erase",
        40,
        2048,
    )
    assert parse_progress("Download done.") is None


def test_leaving_is_judged_by_the_request_not_by_the_exit_status() -> None:
    runner = Runner(HEAD + "Submitting leave request...\nError during download get_status\n", code=74)
    dfu(runner).leave()
    assert runner.arguments[-4:] == ["-a", "0", "-s", ":leave"]


def test_a_bootloader_in_the_middle_of_a_broken_transfer_is_asked_again() -> None:
    refused = Outcome(74, HEAD + "dfuse_download: libusb_control_transfer returned -9 (LIBUSB_ERROR_PIPE)")
    outcomes = [refused, refused, Outcome(0, DONE)]
    DfuUtil(argon(UsbMode.DFU), "argon-1", lambda *_: outcomes.pop(0)).download(0, 0xB4000, b"x")
    assert outcomes == []
    outcomes = [refused] * 4
    with pytest.raises(FlashError, match="refused a command"):
        DfuUtil(argon(UsbMode.DFU), "argon-1", lambda *_: outcomes.pop(0)).download(0, 0xB4000, b"x")
    assert len(outcomes) == 1


@pytest.mark.parametrize(
    ("code", "output", "cause"),
    [
        (74, "dfu-util: No DFU capable USB device available", "not there in DFU mode"),
        (
            74,
            HEAD + "Download\t[=====] 20%  8192 bytes\nError during download get_status",
            "unplugged half-way",
        ),
        (74, "Cannot open DFU device 2b04:d00c found on devnum 6 (LIBUSB_ERROR_ACCESS)", "no permission"),
        (74, HEAD + "dfu-util: Page at 0x00000000 can not be erased", "may not erase"),
        (74, HEAD + "Last page at 0x00000fff is not writeable", "may not write"),
        (None, HEAD, "took too long"),
        (-9, HEAD, "signal 9"),
        (1, "dfu-util: something new", "status 1: dfu-util: something new"),
        (0, HEAD, "status 0"),  # ended well, but never said that it wrote
    ],
)
def test_failures_name_the_board_and_the_cause(code: int | None, output: str, cause: str) -> None:
    with pytest.raises(FlashError) as caught:
        dfu(Runner(output, code)).download(0, 0xB4000, b"x")
    assert "argon-1 (argon at USB port 1-3)" in caught.value.what
    assert cause in caught.value.found


def test_a_missing_dfu_util_names_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FlashError, match="apt-get install dfu-util"):
        DfuUtil(argon(UsbMode.DFU), "argon-1").download(0, 0xB4000, b"x")


def _program(folder: Path, text: str) -> None:
    path = folder / "dfu-util"
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(0o755)


def test_a_run_delivers_progress_lines_as_they_come(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _program(tmp_path, r"print('Download\t[= ]  10%  5 bytes\rDownload\t[==] 100% 50 bytes\nfull')")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    lines: list[str] = []
    outcome = run_dfu_util([], lines.append, 10)
    assert outcome.code == 0
    assert [parse_progress(line) for line in lines[:2]] == [("Download", 10, 5), ("Download", 100, 50)]
    assert outcome.output.endswith("full")


def test_a_run_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _program(tmp_path, "import time; print('waiting', flush=True); time.sleep(600)")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert run_dfu_util([], lambda _: None, 0.5).code is None
