"""The modes of a board and the ways between them. USB fact sheet 2.1 and 2.2.

``Modes`` is what every board can do, by serial touch and DFU alone; ``ControlModes`` is how boards with the control
interface do it. ``modes_for`` chooses.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum

from hil.device.platforms import UsbMode
from hil.device.releases import version_tuple
from hil.device.requests import ControlRequest
from hil.errors import BoardNotFound, RigError, UsageError
from hil.rig.connection import APPEARS_WITHIN, UsbConnection
from hil.rig.identity import Identity
from hil.rig.power import OFF_FOR, PowerSwitch, cycle
from hil.usb import requests
from hil.usb.access import check_access
from hil.usb.console import Console
from hil.usb.control import RequestTimeout
from hil.usb.dfu import DfuUtil
from hil.usb.sysfs import UsbBoard
from hil.usb.transport import NoPermission, TransferError

DFU_TOUCH, LISTENING_TOUCH = 14400, 28800
READY_WITHIN = 60.0  # seconds; the bootloader may apply an update in between
DFU_WITHIN = 30.0  # four boards of one hub take 2.3 on an idle machine: they enumerate one after another
LISTENING_WITHIN = 15.0
VANISHED_WITHIN = 20.0  # what a board that is not on USB may cost, its power switch included
RESTART_STABLE = 0.1
_TOUCH_WITHIN = 3.0  # until a touched board has left; when it is back is another matter
_GONE_WITHIN = 1.0  # libusb may know that a board left before udev says so
_ANSWERS_WITHIN = 10.0
_RESTARTS_WITHIN = 3.0  # seconds that a board is away from USB when it restarts, with some to spare
_RETRY = 0.05


class BoardVanished(BoardNotFound):
    """A board is not on USB and did not come, also not by its power switch."""


class Mode(StrEnum):
    """What a board does now. ``SAFE`` is known only of a board that this object sent there."""

    NORMAL = "normal"
    LISTENING = "listening"
    DFU = "dfu"
    SAFE = "safe"
    OFF = "off"


class Modes:
    """The modes of one board, without the control interface.

    ``leaving`` is called before each action that takes the board off the cloud, with whether it restarts.
    """

    def __init__(
        self,
        connection: UsbConnection,
        identity: Identity,
        power: PowerSwitch,
        leaving: Callable[[bool], None] = lambda _restarts: None,
    ) -> None:
        self.connection = connection
        self.identity = identity
        self.power = power
        self.leaving = leaving
        self._safe: tuple[int, int] | None = None

    # -- where it is ---------------------------------------------------------------------------------------

    def current(self) -> Mode:
        """The mode now. ``OFF`` is also a board that is unplugged, asleep or just restarting."""
        watcher, before = self.connection.watcher, self.connection.watcher.at(self.connection.port)
        try:
            return self._look()
        except TransferError as error:
            # Of a bus that went as a whole nobody says that its boards left.
            if not error.gone or (before is not None and not watcher.wait_gone(before, _GONE_WITHIN)):
                raise
            # It left between the look at USB and the question: what comes back is asked.
            self.connection.wait_present()
            return self._look()

    def _look(self) -> Mode:
        if not self.connection.present:
            return Mode.OFF
        usb = self.connection.usb
        if usb.mode is UsbMode.DFU:
            return Mode.DFU
        if (usb.bus, usb.address) == self._safe:
            return Mode.SAFE
        return Mode.LISTENING if self.is_listening() else Mode.NORMAL

    def is_listening(self) -> bool:
        """Whether the board is in listening mode; one that cannot tell is taken not to be."""
        return False

    def wait_ready(self, within: float = READY_WITHIN, stable: float | None = None) -> UsbBoard:
        """Wait until the board is in normal mode, answers, and stays so for ``stable`` seconds.

        A board may bounce a few times after a flash. Raises ``BoardNotFound``, and ``NoPermission`` at once.
        """
        watcher, deadline = self.connection.watcher, time.monotonic() + within
        while True:
            left = max(0.0, deadline - time.monotonic())
            usb = watcher.wait(self.connection.port, UsbMode.NORMAL, left)
            check_access(usb)
            try:
                self.identity.learn_release()
                if not watcher.wait_gone(usb, RESTART_STABLE if stable is None else stable):
                    return usb
            except NoPermission:
                raise  # waiting opens no door
            except (TransferError, RequestTimeout, BoardNotFound) as error:
                if time.monotonic() > deadline:
                    raise BoardNotFound(f"{self.connection} does not answer", found=str(error)) from error
                watcher.wait_gone(usb, _RETRY)

    def arrive(self) -> UsbBoard:
        """The board in whichever mode; in normal mode it also answers, unless something holds it up for long.

        For what may come right after the power did. Raises ``BoardNotFound``, ``NoPermission``.
        """
        usb = self.connection.wait_present()
        if usb.mode is UsbMode.NORMAL:
            with suppress(BoardNotFound):  # DFU may help a board that is stuck
                return self.wait_ready(_ANSWERS_WITHIN, stable=0)
        return usb

    # -- normal --------------------------------------------------------------------------------------------

    def come_back(self) -> None:
        """Bring a board that is off, in DFU, listening or safe mode, or just restarting, to normal mode."""
        mode = self.current()
        if mode is Mode.OFF:
            self.reappear()
            self.come_back()
        elif mode is Mode.DFU:
            self.leave_dfu()
        elif mode is Mode.LISTENING:
            self.leave_listening()
        elif mode is Mode.SAFE:
            self.reset()

    def reappear(self, within: float | None = None) -> UsbBoard:
        """Wait for a board that is not on USB, in whichever mode; its power is switched on, then off and on again.

        Raises ``BoardVanished`` that says what was tried, after about ``within`` seconds: unless told after 20, after
        10 where there is no switch to try. A switch that fails is not tried further, and no board comes by it: then
        there is time for one that is just restarting.
        """
        if within is None:
            within = VANISHED_WITHIN if self.power.available else APPEARS_WITHIN
        deadline = time.monotonic() + within
        ways: list[tuple[str, Callable[[], None]]] = [("waited for it", lambda: None)]
        if self.power.available:
            ways = [("switched its power on", self.power.on), ("and off and on", lambda: cycle(self.power))]
        tried = []
        while ways:
            what, attempt = ways.pop(0)
            try:
                attempt()
            except RigError as error:
                what = f"not {what}: {error.what}" + (f" ({error.found})" if error.found else "")
                ways.clear()
                deadline = min(deadline, time.monotonic() + _RESTARTS_WITHIN)
            tried.append(what)
            left = max(0.0, deadline - time.monotonic())
            usb = self.connection.watcher.wait_present(self.connection.port, left / 3 if ways else left)
            if usb is not None:
                return usb
        raise BoardVanished(
            f"{self.connection} is not on USB",
            expected=f"a {self.connection.platform.display} at its port within {within:g} s",
            found=f"nothing there; {', '.join(tried)}",
            hint="look at cable, hub and power; `hil boards` shows what USB sees",
        )

    def expect_restart(
        self, action: Callable[[], object], within: float = READY_WITHIN, mode: Mode = Mode.NORMAL
    ) -> None:
        """Do ``action``, which restarts the board into ``mode`` (normal or safe), and wait until it answers."""
        before = self.connection.wait_present()
        self.leaving(True)
        action()
        if not self.connection.watcher.wait_gone(before, within):
            raise RigError(
                f"{self.connection} did not restart within {within:g} s", found=str(self.connection.usb)
            )
        self.wait_ready(within)
        if mode is Mode.SAFE:
            self._safe = self.connection.enumeration

    def reset(self, within: float = READY_WITHIN) -> None:
        """Reset the board and wait until it answers again; out of DFU mode too."""
        self.enter_dfu()
        self.leave_dfu(within)

    def reset_hard(self, within: float = READY_WITHIN) -> None:
        """Reset at once, also when application and system are stuck."""
        self.reset(within)

    # -- off -----------------------------------------------------------------------------------------------

    def power_cycle(self, off_for: float = OFF_FOR, within: float = READY_WITHIN) -> None:
        """Cut the power for ``off_for`` seconds and wait until the board answers again; one that is dark as well."""
        if not self.connection.present:
            cycle(self.power, off_for)
            self.wait_ready(within)
            return
        self.expect_restart(lambda: cycle(self.power, off_for), within)

    # -- DFU -----------------------------------------------------------------------------------------------

    def enter_dfu(self, within: float = DFU_WITHIN) -> DfuUtil:
        """Bring the board into DFU mode, if it is not there yet."""
        usb = self.connection.wait_present()
        if usb.mode is UsbMode.NORMAL:
            self.leaving(True)
            self.connection.drop_channel()
            if not self._leaves_by_touch(usb):
                self._request_dfu(usb)
            # Whichever it was, a board that left is somewhere between the two faces: only patience is of use now.
            usb = self.connection.watcher.wait(self.connection.port, UsbMode.DFU, within)
        return self.connection.dfu(usb)

    def leave_dfu(self, within: float = READY_WITHIN, stable: float | None = None) -> None:
        """Send the board from DFU mode back to its application and wait until it answers."""
        usb = self.connection.wait_present()
        if usb.mode is UsbMode.DFU:
            self.leaving(True)
            self.connection.dfu(usb).leave()
            self.connection.watcher.wait_gone(usb, within)
        self.wait_ready(within, stable)

    def _leaves_by_touch(self, usb: UsbBoard) -> bool:
        """Whether the board obeys a touch of its serial port: then it is gone at once."""
        if usb.tty is None:
            return False
        self.connection.touch(DFU_TOUCH)
        if self.connection.watcher.wait_gone(usb, _TOUCH_WITHIN):
            return True
        self.connection.attach_serial()
        return False

    def _request_dfu(self, usb: UsbBoard) -> None:
        """Ask ``usb``, which the touch did not move, in another way; there is none without the control interface."""

    # -- safe ----------------------------------------------------------------------------------------------

    def enter_safe_mode(self, within: float = READY_WITHIN) -> None:
        """Restart without the application. Raises ``UsageError`` where the board cannot be told to."""
        del within
        raise UsageError(f"a {self.connection.platform.display} cannot be sent into safe mode over USB")

    # -- listening -----------------------------------------------------------------------------------------

    def enter_listening(self, within: float = LISTENING_WITHIN) -> Console:
        """Bring the board into listening mode and return its serial console."""
        self.connection.wait_present()
        self.leaving(False)
        self._start_listening()
        self._wait_listening(True, within)
        self.connection.serial.wait_attached(within)
        return Console(self.connection.serial)

    def leave_listening(self, within: float = LISTENING_WITHIN) -> None:
        """Leave listening mode: without the control interface only a restart does."""
        self.reset(within)

    def _start_listening(self) -> None:
        self.connection.touch(LISTENING_TOUCH)
        self.connection.attach_serial()

    def _wait_listening(self, wanted: bool, within: float) -> None:
        """Nothing to wait for where the board cannot tell."""


class ControlModes(Modes):
    """The same of a board with the control interface (USB fact sheet 4.5)."""

    def is_listening(self) -> bool:
        try:
            return requests.is_listening(self.connection.control())
        except requests.RequestRefused as error:
            if requests.not_supported(error):
                return False
            raise

    def reset(self, within: float = READY_WITHIN) -> None:
        if self.connection.wait_present().mode is UsbMode.DFU:
            self.leave_dfu(within)
        else:
            self.expect_restart(lambda: requests.reset(self.connection.control()), within)

    def reset_hard(self, within: float = READY_WITHIN) -> None:
        """By raw request 40, which an interrupt handler answers (USB fact sheet 4.6)."""
        self.expect_restart(lambda: self.connection.control().raw_out(ControlRequest.RESET), within)

    def enter_safe_mode(self, within: float = READY_WITHIN) -> None:
        self.expect_restart(
            lambda: requests.enter_safe_mode(self.connection.control()), within, mode=Mode.SAFE
        )

    def leave_listening(self, within: float = LISTENING_WITHIN) -> None:
        requests.stop_listening(self.connection.control())
        self._wait_listening(False, within)

    def _request_dfu(self, usb: UsbBoard) -> None:
        try:
            requests.enter_dfu(self.connection.control())
        except RigError:
            if not self.connection.watcher.wait_gone(usb, _GONE_WITHIN):
                raise  # else the touch worked, only late

    def _start_listening(self) -> None:
        try:
            requests.start_listening(self.connection.control())
        except requests.RequestRefused as error:
            if not requests.not_supported(error) or version_tuple(self.identity.device_os) >= (6, 0, 0):
                raise
            super()._start_listening()

    def _wait_listening(self, wanted: bool, within: float) -> None:
        deadline = time.monotonic() + within
        while self.is_listening() is not wanted:
            if time.monotonic() > deadline:
                did = "did not enter" if wanted else "did not leave"
                raise RigError(f"{self.connection} {did} listening mode within {within:g} s")
            time.sleep(_RETRY)


def modes_for(
    connection: UsbConnection, identity: Identity, power: PowerSwitch, leaving: Callable[[bool], None]
) -> Modes:
    """The modes of the board on ``connection``, in the way that its platform has."""
    kind = ControlModes if connection.has_control else Modes
    return kind(connection, identity, power, leaving)
