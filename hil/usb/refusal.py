"""Whether a board runs the application it holds, asked over USB. USB fact sheet 4.4 (request 90) and 1.2.

A board that cannot run its application stays in safe mode: its module table says so, and what it writes to its serial
port may say why.
"""

from __future__ import annotations

from contextlib import suppress

from hil.device.modules import ModuleFunction
from hil.device.platforms import UsbMode
from hil.errors import RigError
from hil.usb import requests
from hil.usb.control import ControlChannel
from hil.usb.seriallog import SerialLog
from hil.usb.sysfs import UsbBoard

_OPEN_WITHIN = 1.0  # seconds until the port is open, and again until the board has said something
_UNSAID = "the system it needs is not there, or the image is damaged"


def refusal(board: UsbBoard) -> str | None:
    """Why ``board`` does not run its application, as it says; ``None`` when it does, has none or cannot be asked.

    For a board that nobody uses: its control requests and its serial port are taken for a moment.
    """
    if board.mode is not UsbMode.NORMAL:
        return None
    try:
        with ControlChannel(board) as channel:
            parts = [part for part in requests.modules(channel) if part.function is ModuleFunction.USER_PART]
    except (RigError, OSError):
        return None
    if not parts or any(part.valid for part in parts):
        return None
    return _last_words(board) or _UNSAID


def _last_words(board: UsbBoard) -> str:
    """The last line that the board writes to whoever opens its port, if it does."""
    if board.tty is None:
        return ""
    log = SerialLog(board.port)
    log.attach(board.tty)
    try:
        if log.wait_attached(_OPEN_WITHIN):
            with suppress(RigError):  # one that never stops has said enough
                log.until_idle(0, _OPEN_WITHIN, within=_OPEN_WITHIN)
        lines = [line.text for line in log.lines() if line.text.strip()]
    finally:
        log.detach()
    return lines[-1] if lines else ""
