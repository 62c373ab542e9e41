"""A board's place on USB: what enumerates at its port now, its serial log, its control channel.

A board is its slot's USB port path; what enumerates there comes and goes. USB fact sheet 2.2 and 9.4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hil.device.platforms import Platform, UsbMode
from hil.errors import BoardNotFound, RigError
from hil.rig.rigfile import SlotTable
from hil.usb.control import ControlChannel
from hil.usb.dfu import DfuUtil
from hil.usb.discovery import UsbEvent, UsbWatcher
from hil.usb.seriallog import SerialLog, touch
from hil.usb.sysfs import UsbBoard

APPEARS_WITHIN = 10.0  # seconds; a kernel needs 0.5 for a board and does those of one hub one after another
LEAVES_WITHIN = 3.0  # seconds until USB notices that a board has no power


@dataclass(frozen=True, slots=True)
class UsbTools:
    """What speaks to a board on USB: control requests, ``dfu-util`` (with the name for its errors), a baud rate."""

    control: Callable[[UsbBoard], ControlChannel] = ControlChannel
    dfu: Callable[[UsbBoard, str], DfuUtil] = DfuUtil
    touch: Callable[[str, int], None] = touch


class UsbConnection:
    """One slot's end of USB. ``open`` follows the board, so that its serial port is read whenever it is there."""

    def __init__(self, slot: SlotTable, watcher: UsbWatcher, tools: UsbTools | None = None) -> None:
        self.slot = slot
        self.watcher = watcher
        self.tools = tools or UsbTools()
        self.serial = SerialLog(slot.name)
        self._channel: ControlChannel | None = None
        self._unfollow: Callable[[], None] | None = None

    def __str__(self) -> str:
        return f"{self.slot.name} ({self.platform.name} at USB port {self.port})"

    @property
    def platform(self) -> Platform:
        return self.slot.board_platform

    @property
    def port(self) -> str:
        """The USB port path."""
        return self.slot.port

    @property
    def has_control(self) -> bool:
        """Whether this platform has the control interface; only the Core has none."""
        return self.platform.has_control_interface

    @property
    def usb(self) -> UsbBoard:
        """The board as USB shows it now. Raises ``BoardNotFound``."""
        board = self.watcher.at(self.port)
        if board is None:
            raise BoardNotFound(
                f"slot {self.slot.name} is empty",
                expected=f"a {self.platform.display} at USB port {self.port}",
                found=", ".join(str(other) for other in self.watcher.boards()) or "no board on USB at all",
                hint="look at cable and power; `hil boards` shows what USB sees",
            )
        return board

    def wait_present(self, within: float | None = None) -> UsbBoard:
        """The board in whichever mode, waiting ``within`` seconds for one that is just enumerating.

        Whoever switched its power on a moment ago need not wait. Raises ``BoardNotFound``.
        """
        found = self.watcher.wait_present(self.port, APPEARS_WITHIN if within is None else within)
        return self.usb if found is None else found

    def wait_absent(self, within: float | None = None) -> bool:
        """Whether nothing of the board's present enumeration is left within that many seconds."""
        usb = self.watcher.at(self.port)
        return usb is None or self.watcher.wait_gone(usb, LEAVES_WITHIN if within is None else within)

    @property
    def present(self) -> bool:
        """Whether something enumerates at the port now."""
        return self.watcher.at(self.port) is not None

    @property
    def enumeration(self) -> tuple[int, int]:
        """What changes each time the board enumerates anew, as it does when it restarts."""
        usb = self.usb
        return usb.bus, usb.address

    def open(self) -> None:
        """Follow the board from now on."""
        if self._unfollow is None:
            self._unfollow = self.watcher.listen(self._on_usb)
            self.attach_serial()

    def close(self) -> None:
        """Let serial port and control channel go."""
        if self._unfollow is not None:
            self._unfollow()
            self._unfollow = None
        self.serial.detach()
        self.drop_channel()

    def control(self) -> ControlChannel:
        """The control channel of the board as it is enumerated now. Raises ``RigError`` in DFU mode."""
        usb = self.usb
        if usb.mode is UsbMode.DFU:
            raise RigError(f"{self} is in DFU mode", expected="normal mode", hint="board.leave_dfu()")
        channel = self._channel
        if channel is None or channel.board.address != usb.address or channel.board.bus != usb.bus:
            self.drop_channel()
            channel = self._channel = self.tools.control(usb)
        return channel

    def drop_channel(self) -> None:
        """Close the control channel; the next request opens another."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def dfu(self, usb: UsbBoard) -> DfuUtil:
        """``dfu-util`` for the board as it is enumerated in DFU mode."""
        return self.tools.dfu(usb, self.slot.name)

    def touch(self, baud: int) -> None:
        """Open the serial port at ``baud``, which is a command to the board; the log lets the port go for it."""
        self.serial.detach()
        self.tools.touch(self.usb.tty or "", baud)

    def attach_serial(self) -> None:
        """Read the serial port again, if the board is followed and has one."""
        usb = self.watcher.at(self.port)
        if self._unfollow is not None and usb is not None and usb.tty is not None:
            self.serial.attach(usb.tty)

    def _on_usb(self, event: UsbEvent) -> None:
        if event.port != self.port:
            return
        if event.board is not None and event.board.tty is not None:
            self.serial.attach(event.board.tty)
        else:
            self.serial.detach()
