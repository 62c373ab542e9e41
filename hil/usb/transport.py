"""Control transfers on endpoint 0: one small interface, and libusb behind it. USB fact sheet 4.1 and 4.7.

Control requests are vendor requests to the device, so no interface is claimed and the serial driver stays bound.
"""

from __future__ import annotations

import errno
import time
from pathlib import Path
from typing import Any, Protocol

import usb.backend.libusb1
import usb.core
import usb.util

from hil.errors import RigError
from hil.usb.sysfs import UsbBoard

TRANSFER_TIMEOUT = 5.0  # seconds; what Particle's own tools allow
_OPEN_WITHIN = 2.0  # libusb learns of a new device by an event of its own, a little after udev's


class TransferError(RigError):
    """A control transfer failed. ``stalled``: the board refused it; ``gone``: the board left USB."""

    def __init__(
        self, what: str, *, stalled: bool = False, gone: bool = False, found: str = "", hint: str = ""
    ) -> None:
        super().__init__(what, found=found, hint=hint)
        self.stalled = stalled
        self.gone = gone


def usb_node(bus: int, address: int) -> Path:
    """Where a USB device is opened."""
    return Path(f"/dev/bus/usb/{bus:03d}/{address:03d}")


class NoPermission(TransferError):
    """A node of a board is closed to this user."""

    def __init__(self, board: UsbBoard, node: Path) -> None:
        super().__init__(
            f"no permission to talk to {board}",
            found=f"{node} may not be read and written",
            hint="`hil doctor` says what opens it: udev rules, or a group for you",
        )


class UsbTransport(Protocol):
    """Endpoint 0 of one board. ``timeout`` is in seconds. Methods raise ``TransferError``."""

    def control_in(self, request_type: int, request: int, value: int, index: int, length: int) -> bytes:
        """Read up to ``length`` bytes."""

    def control_out(self, request_type: int, request: int, value: int, index: int, data: bytes) -> None:
        """Write ``data``."""

    def close(self) -> None:
        """Let the device go."""


class LibusbTransport:
    """Endpoint 0 by way of libusb."""

    def __init__(self, board: UsbBoard, timeout: float = TRANSFER_TIMEOUT) -> None:
        self._board = board
        self._milliseconds = int(timeout * 1000)
        self._device: Any = _find(board)

    def control_in(self, request_type: int, request: int, value: int, index: int, length: int) -> bytes:
        return bytes(self._transfer(request_type, request, value, index, length))

    def control_out(self, request_type: int, request: int, value: int, index: int, data: bytes) -> None:
        self._transfer(request_type, request, value, index, data)

    def close(self) -> None:
        usb.util.dispose_resources(self._device)

    def _transfer(self, request_type: int, request: int, value: int, index: int, data: int | bytes) -> Any:
        try:
            return self._device.ctrl_transfer(request_type, request, value, index, data, self._milliseconds)
        except usb.core.USBError as error:
            raise _explain(error, self._board, f"request 0x{request:02x}, index {index}") from error


def _find(board: UsbBoard) -> Any:
    """The libusb device of ``board``. Raises ``TransferError``."""
    backend = usb.backend.libusb1.get_backend()
    if backend is None:
        raise TransferError("libusb-1.0 is not installed", hint="sudo apt-get install libusb-1.0-0")
    deadline = time.monotonic() + _OPEN_WITHIN
    while True:
        device = usb.core.find(
            backend=backend, custom_match=lambda each: (each.bus, each.address) == (board.bus, board.address)
        )
        if device is not None:
            return device
        if time.monotonic() > deadline:
            raise TransferError(
                f"libusb does not see the {board}", gone=True, hint="`hil boards` shows what udev sees"
            )
        time.sleep(0.02)


def _explain(error: Any, board: UsbBoard, what: str) -> TransferError:
    if error.errno == errno.EPIPE:
        return TransferError(f"{board} refused USB {what}", stalled=True)
    if error.errno == errno.EACCES:
        return NoPermission(board, usb_node(board.bus, board.address))
    gone = error.errno in (errno.ENODEV, errno.ENOENT, errno.EIO, errno.EPROTO, errno.ESHUTDOWN)
    return TransferError(f"USB {what} to {board} failed", gone=gone, found=str(error))
