"""A board of the rig: its modes, serial log, probe, firmware and keys, behind one object.

A board is its slot's USB port path; what enumerates there comes and goes. USB fact sheet 2.1, 2.2, 9.4.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hil.device.keys import ServerAddress
from hil.device.platforms import Platform, UsbMode
from hil.device.releases import version_tuple
from hil.device.requests import ControlRequest
from hil.errors import BoardNotFound, RigError
from hil.rig import flashing, provisioning
from hil.rig.images import Image
from hil.rig.power import PowerSwitch, cycle, power_for
from hil.rig.probe import Probe, ProbeError
from hil.rig.rigfile import SlotTable
from hil.usb import requests
from hil.usb.console import Console
from hil.usb.control import ControlChannel, RequestTimeout
from hil.usb.dfu import DfuUtil
from hil.usb.discovery import UsbEvent, UsbWatcher
from hil.usb.seriallog import SerialLog, touch
from hil.usb.sysfs import UsbBoard
from hil.usb.transport import TransferError

DFU_TOUCH, LISTENING_TOUCH = 14400, 28800
READY_WITHIN = 60.0  # seconds; the bootloader may apply an update in between
RESTART_STABLE = 0.1
SETTLE = 0.5  # seconds; a board may bounce between safe and normal mode after a flash
_TOUCH_WITHIN = 3.0
_RETRY = 0.05


@dataclass(frozen=True, slots=True)
class RunningFirmware:
    """The probe that answers on the board."""

    app: str
    version: int
    build: str
    device_os: str


class Board:
    """One board. Made by the pool, which opens it when it is leased and closes it afterwards."""

    def __init__(self, slot: SlotTable, watcher: UsbWatcher, power: PowerSwitch | None = None) -> None:
        self.slot = slot
        self.serial = SerialLog(slot.name)
        self.power = power if power is not None else power_for(slot)
        self.probe = Probe(self)
        self.device_os = slot.device_os
        self.settle = SETTLE
        self._watcher = watcher
        self._device_id = slot.device_id
        self._public_key: bytes | None = None
        self._channel: ControlChannel | None = None
        self._unfollow: Callable[[], None] | None = None

    def __str__(self) -> str:
        return f"{self.name} ({self.platform.name} at USB port {self.port})"

    # -- what it is ----------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The slot's name."""
        return self.slot.name

    @property
    def platform(self) -> Platform:
        return self.slot.board_platform

    @property
    def port(self) -> str:
        """The USB port path."""
        return self.slot.port

    @property
    def address(self) -> str | None:
        """The board's IPv4 address, if the rig file tells."""
        return self.slot.address

    @property
    def features(self) -> frozenset[str]:
        return frozenset(self.slot.features)

    @property
    def device_id(self) -> str:
        """24 hex digits in lower case: the rig file's, else what the board says."""
        if self._device_id is None:
            self._device_id = self.usb.device_id or requests.device_id(self.control())
        return self._device_id

    @property
    def usb(self) -> UsbBoard:
        """The board as USB shows it now. Raises ``BoardNotFound``."""
        board = self._watcher.at(self.port)
        if board is None:
            raise BoardNotFound(
                f"slot {self.name} is empty",
                expected=f"a {self.platform.display} at USB port {self.port}",
                found=", ".join(str(other) for other in self._watcher.boards()) or "no board on USB at all",
                hint="look at cable and power; `hil boards` shows what USB sees",
            )
        return board

    @property
    def present(self) -> bool:
        """Whether something enumerates at the board's port now."""
        return self._watcher.at(self.port) is not None

    @property
    def has_control(self) -> bool:
        """Whether this platform has the control interface; only the Core has none."""
        return self.platform.has_control_interface

    @property
    def enumeration(self) -> tuple[int, int]:
        """What changes each time the board enumerates anew, as it does when it restarts."""
        usb = self.usb
        return usb.bus, usb.address

    def identify(self) -> None:
        """Check that the board in the slot is the one of the rig file, and learn its Device OS release.

        Raises ``RigError`` that names what is there instead.
        """
        usb = self.usb
        if usb.platform != self.platform:
            raise self._mismatch(self.platform.display, str(usb))
        if usb.mode is UsbMode.NORMAL and self.has_control:
            found = requests.device_id(self.control())
            self.device_os = requests.os_version(self.control())
        else:
            found = usb.device_id or ""
        if found and self.slot.device_id not in (None, found):
            raise self._mismatch(f"device {self.slot.device_id}", f"device {found}")
        self._device_id = found or self._device_id

    def _mismatch(self, expected: str, found: str) -> RigError:
        return RigError(
            f"another board sits in slot {self.name}",
            expected=f"{expected} at USB port {self.port}",
            found=found,
            hint="plug the right board in, or correct the rig file",
        )

    # -- lease ---------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Follow the board: its serial port is read whenever it is there."""
        if self._unfollow is None:
            self._unfollow = self._watcher.listen(self._on_usb)
            self._attach_serial()

    def close(self) -> None:
        """Let serial port and control channel go."""
        if self._unfollow is not None:
            self._unfollow()
            self._unfollow = None
        self.serial.detach()
        self._drop_channel()

    def _on_usb(self, event: UsbEvent) -> None:
        if event.port != self.port:
            return
        if event.board is not None and event.board.tty is not None:
            self.serial.attach(event.board.tty)
        else:
            self.serial.detach()

    def _attach_serial(self) -> None:
        usb = self._watcher.at(self.port)
        if self._unfollow is not None and usb is not None and usb.tty is not None:
            self.serial.attach(usb.tty)

    def control(self) -> ControlChannel:
        """The control channel of the board as it is enumerated now. Raises ``RigError`` in DFU mode."""
        usb = self.usb
        if usb.mode is UsbMode.DFU:
            raise RigError(f"{self} is in DFU mode", expected="normal mode", hint="board.leave_dfu()")
        channel = self._channel
        if channel is None or channel.board.address != usb.address or channel.board.bus != usb.bus:
            self._drop_channel()
            channel = self._channel = ControlChannel(usb)
        return channel

    def _drop_channel(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    # -- modes ---------------------------------------------------------------------------------------------

    def wait_ready(self, within: float = READY_WITHIN, stable: float = RESTART_STABLE) -> UsbBoard:
        """Wait until the board is in normal mode, answers, and stays so for ``stable`` seconds.

        A board may bounce a few times after a flash. Raises ``BoardNotFound``.
        """
        deadline = time.monotonic() + within
        while True:
            usb = self._watcher.wait(self.port, UsbMode.NORMAL, max(0.0, deadline - time.monotonic()))
            try:
                if self.has_control:
                    self.device_os = requests.os_version(self.control())
                if not self._watcher.wait_gone(usb, stable):
                    return usb
            except (TransferError, RequestTimeout, BoardNotFound) as error:
                if time.monotonic() > deadline:
                    raise BoardNotFound(f"{self} does not answer", found=str(error)) from error
                self._watcher.wait_gone(usb, _RETRY)

    def expect_restart(self, action: Callable[[], object], within: float = READY_WITHIN) -> None:
        """Do ``action``, which restarts the board, and wait until it is back and answers."""
        before = self.usb
        action()
        if not self._watcher.wait_gone(before, within):
            raise RigError(f"{self} did not restart within {within:g} s", found=str(self.usb))
        self.wait_ready(within)

    def reset(self, within: float = READY_WITHIN) -> None:
        """Reset the board and wait until it answers again; out of DFU mode too."""
        if self.usb.mode is UsbMode.DFU:
            self.leave_dfu(within)
        elif self.has_control:
            self.expect_restart(lambda: requests.reset(self.control()), within)
        else:
            self.enter_dfu()
            self.leave_dfu(within)

    def reset_hard(self, within: float = READY_WITHIN) -> None:
        """Reset at once, also when application and system are stuck (raw request 40)."""
        self.expect_restart(lambda: self.control().raw_out(ControlRequest.RESET), within)

    def power_cycle(self, off_for: float = 2.0, within: float = READY_WITHIN) -> None:
        """Cut the power for ``off_for`` seconds and wait until the board answers again."""
        self.expect_restart(lambda: cycle(self.power, off_for), within)

    def enter_dfu(self, within: float = 15.0) -> DfuUtil:
        """Bring the board into DFU mode, if it is not there yet: by touch, else by control request 50."""
        usb = self.usb
        if usb.mode is UsbMode.NORMAL:
            self._drop_channel()
            usb = self._touch_into_dfu(usb) or self._request_dfu(within)
        return DfuUtil(usb, self.name)

    def _touch_into_dfu(self, usb: UsbBoard) -> UsbBoard | None:
        if usb.tty is None:
            return None
        self.serial.detach()
        touch(usb.tty, DFU_TOUCH)
        try:
            return self._watcher.wait(self.port, UsbMode.DFU, _TOUCH_WITHIN)
        except BoardNotFound:
            self._attach_serial()
            return None

    def _request_dfu(self, within: float) -> UsbBoard:
        if self.has_control:
            requests.enter_dfu(self.control())
        return self._watcher.wait(self.port, UsbMode.DFU, within)

    def leave_dfu(self, within: float = READY_WITHIN, stable: float = RESTART_STABLE) -> None:
        """Send the board from DFU mode back to its application and wait until it answers."""
        usb = self.usb
        if usb.mode is UsbMode.DFU:
            DfuUtil(usb, self.name).leave()
            self._watcher.wait_gone(usb, within)
        self.wait_ready(within, stable)

    def enter_safe_mode(self, within: float = READY_WITHIN) -> None:
        """Restart without the application."""
        self.expect_restart(lambda: requests.enter_safe_mode(self.control()), within)

    def enter_listening(self, within: float = 15.0) -> Console:
        """Bring the board into listening mode and return its serial console."""
        try:
            requests.start_listening(self.control())
        except requests.RequestRefused as error:
            if not requests.not_supported(error) or version_tuple(self.device_os) >= (6, 0, 0):
                raise
            self.serial.detach()
            touch(self.usb.tty or "", LISTENING_TOUCH)
            self._attach_serial()
        self._wait_listening(True, within)
        self.serial.wait_attached(within)
        return Console(self.serial)

    def leave_listening(self, within: float = 15.0) -> None:
        """Leave listening mode."""
        requests.stop_listening(self.control())
        self._wait_listening(False, within)

    def is_listening(self) -> bool:
        """Whether the board is in listening mode; Device OS that cannot tell is taken not to be."""
        try:
            return requests.is_listening(self.control())
        except requests.RequestRefused as error:
            if requests.not_supported(error):
                return False
            raise

    def _wait_listening(self, wanted: bool, within: float) -> None:
        deadline = time.monotonic() + within
        while self.is_listening() is not wanted:
            if time.monotonic() > deadline:
                raise RigError(f"{self} {'entered' if not wanted else 'did not enter'} listening mode")
            time.sleep(_RETRY)

    # -- firmware and keys ---------------------------------------------------------------------------------

    def firmware(self) -> RunningFirmware | None:
        """The probe that runs; ``None`` when none answers (another application, safe mode, DFU mode)."""
        if self.usb.mode is UsbMode.DFU:
            return None
        try:
            info = self.probe.info()
        except (ProbeError, RequestTimeout):
            return None
        return RunningFirmware(info.app, info.version, info.build, info.os)

    def flash(
        self, image: Image | Path | bytes, *, force: bool = False, progress: flashing.Progress | None = None
    ) -> flashing.FlashReport:
        """Put a user application onto the board; nothing is written if it runs exactly this already.

        Raises ``FlashError``. Whatever went wrong, the next flash recovers the board.
        """
        return flashing.flash(self, flashing.as_image(self, image), force=force, progress=progress)

    def provision(
        self, server: provisioning.ServerPublicKeys, address: ServerAddress | str
    ) -> provisioning.ProvisionReport:
        """Write server key and address, and a device key if there is none; the report has the public key.

        Raises ``ProvisionError``.
        """
        report = provisioning.provision(self, server, address)
        self._public_key = report.public_key
        return report

    def public_key(self) -> bytes:
        """The device's public key as SPKI DER, read back over DFU the first time."""
        if self._public_key is None:
            self._public_key = provisioning.read_public_key(self)
        return self._public_key
