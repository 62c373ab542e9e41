"""A board of the rig, put together from its parts: connection, identity, power, modes, application, probe, keys.

Each part knows only what it needs. What tests use most is here in one place; the rest is at the part it belongs to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hil.device.keys import ServerAddress
from hil.device.platforms import Platform, UsbMode
from hil.observe import announce, verb
from hil.rig import flashing, provisioning
from hil.rig.connection import UsbConnection, UsbTools
from hil.rig.identity import Identity
from hil.rig.images import Image
from hil.rig.installed import InstalledApplication
from hil.rig.modes import DFU_WITHIN, LISTENING_WITHIN, READY_WITHIN, Mode, modes_for
from hil.rig.power import OFF_FOR, BoardPower, PowerSwitch, power_for, surely_on
from hil.rig.probe import Probe, ProbeError
from hil.rig.rigfile import SlotTable
from hil.usb.console import Console
from hil.usb.control import ControlChannel, RequestTimeout
from hil.usb.dfu import DfuUtil
from hil.usb.discovery import UsbWatcher
from hil.usb.seriallog import SerialLog
from hil.usb.sysfs import UsbBoard

SETTLE = 0.5  # seconds; a board may bounce between safe and normal mode after a flash


@dataclass(frozen=True, slots=True)
class RunningFirmware:
    """The probe that answers on the board."""

    app: str
    version: int
    build: str
    device_os: str


class Board:
    """One board. Made by the pool, which opens it when it is leased and closes it afterwards.

    ``settle``: how long it must stay in one mode after a flash, in seconds.
    """

    def __init__(
        self,
        slot: SlotTable,
        watcher: UsbWatcher,
        power: PowerSwitch | None = None,
        tools: UsbTools | None = None,
    ) -> None:
        self.slot = slot
        self.settle = SETTLE
        self.connection = UsbConnection(slot, watcher, tools)
        self.identity = Identity(self.connection)
        switch = power if power is not None else power_for(slot)
        self.power = BoardPower(switch, lambda: self.leaving(True), self.connection.wait_absent)
        self.modes = modes_for(self.connection, self.identity, self.power, self.leaving)
        self.application = InstalledApplication(self.connection)
        self.application.witnesses.append(self._probe_says)
        self.probe = Probe(self)
        self._public_key: bytes | None = None

    def __str__(self) -> str:
        return str(self.connection)

    def leaving(self, restarts: bool) -> None:
        """Called before whatever takes the board off the cloud; ``restarts``: its application starts anew."""

    # -- what it is ----------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The slot's name."""
        return self.slot.name

    @property
    def actor(self) -> str:
        """Who acts in what the board does: the board by its name."""
        return self.name

    @property
    def platform(self) -> Platform:
        return self.connection.platform

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
        return self.identity.device_id

    @property
    def device_os(self) -> str:
        """The Device OS release: what the board said last, before that the rig file's."""
        return self.identity.device_os

    # -- on USB --------------------------------------------------------------------------------------------

    @property
    def usb(self) -> UsbBoard:
        """The board as USB shows it now. Raises ``BoardNotFound``."""
        return self.connection.usb

    @property
    def present(self) -> bool:
        """Whether something enumerates at the board's port now."""
        return self.connection.present

    @property
    def serial(self) -> SerialLog:
        """What the board says on its serial port, across all restarts."""
        return self.connection.serial

    @property
    def has_control(self) -> bool:
        """Whether this platform has the control interface; only the Core has none."""
        return self.connection.has_control

    @property
    def enumeration(self) -> tuple[int, int]:
        """What changes each time the board enumerates anew, as it does when it restarts."""
        return self.connection.enumeration

    def open(self) -> None:
        """Follow the board: its serial port is read whenever it is there."""
        self.connection.open()

    def close(self) -> None:
        """Let serial port and control channel go."""
        self.connection.close()

    def control(self) -> ControlChannel:
        """The control channel of the board as it is enumerated now. Raises ``RigError`` in DFU mode."""
        return self.connection.control()

    # -- modes ---------------------------------------------------------------------------------------------

    @verb
    def wait_ready(self, within: float = READY_WITHIN, stable: float | None = None) -> UsbBoard:
        """Wait until the board is in normal mode and answers. Raises ``BoardNotFound``."""
        return self.modes.wait_ready(within, stable)

    def expect_restart(
        self, action: Callable[[], object], within: float = READY_WITHIN, mode: Mode = Mode.NORMAL
    ) -> None:
        """Do ``action``, which restarts the board, and wait until it is back and answers."""
        self.modes.expect_restart(action, within, mode)

    @verb
    def reset(self, within: float = READY_WITHIN) -> None:
        """Reset the board and wait until it answers again; out of DFU mode too."""
        self.modes.reset(within)

    @verb
    def reset_hard(self, within: float = READY_WITHIN) -> None:
        """Reset at once, also when application and system are stuck."""
        self.modes.reset_hard(within)

    @verb
    def power_cycle(self, off_for: float = OFF_FOR, within: float = READY_WITHIN) -> None:
        """Cut the power for ``off_for`` seconds and wait until the board answers again."""
        self.modes.power_cycle(off_for, within)

    @contextmanager
    def without_power(self) -> Iterator[None]:
        """For a ``with`` block the board has no power; however the block ends, it has it again."""
        with announce(self.actor, "without power"):
            try:
                self.power.off()
                yield
            finally:
                surely_on(self.power)

    @verb
    def enter_dfu(self, within: float = DFU_WITHIN) -> DfuUtil:
        """Bring the board into DFU mode, if it is not there yet."""
        return self.modes.enter_dfu(within)

    @verb
    def leave_dfu(self, within: float = READY_WITHIN, stable: float | None = None) -> None:
        """Send the board from DFU mode back to its application and wait until it answers."""
        self.modes.leave_dfu(within, stable)

    @verb
    def enter_safe_mode(self, within: float = READY_WITHIN) -> None:
        """Restart without the application."""
        self.modes.enter_safe_mode(within)

    @verb
    def enter_listening(self, within: float = LISTENING_WITHIN) -> Console:
        """Bring the board into listening mode and return its serial console."""
        return self.modes.enter_listening(within)

    @verb
    def leave_listening(self, within: float = LISTENING_WITHIN) -> None:
        """Leave listening mode."""
        self.modes.leave_listening(within)

    def is_listening(self) -> bool:
        """Whether the board is in listening mode; Device OS that cannot tell is taken not to be."""
        return self.modes.is_listening()

    # -- application and keys ------------------------------------------------------------------------------

    def firmware(self) -> RunningFirmware | None:
        """The probe that runs; ``None`` when none answers (another application, safe mode, DFU mode)."""
        if self.usb.mode is UsbMode.DFU:
            return None
        try:
            info = self.probe.info()
        except (ProbeError, RequestTimeout):
            return None
        return RunningFirmware(info.app, info.version, info.build, info.os)

    def running_build(self) -> str | None:
        """The build of the probe that runs, if one answers."""
        running = self.firmware()
        return None if running is None else running.build

    def _probe_says(self, image: Image) -> bool | None:
        """Only an image that names its build may be one that answers; nobody is asked about others."""
        build = self.running_build() if image.build is not None else None
        return None if build is None else build == image.build

    def runs(self, image: Image) -> bool:
        """Whether the board's one application is exactly ``image``, whatever it is. Safe mode runs none.

        Where nothing else can tell, it looks over DFU, which restarts the board. Raises ``FlashError``.
        """
        self.modes.arrive()
        return self.modes.current() is not Mode.SAFE and flashing.runs(self, image)

    @verb
    def flash(
        self, image: Image | Path | bytes, *, force: bool = False, progress: flashing.Progress | None = None
    ) -> flashing.FlashReport:
        """Put a user application onto the board; nothing is written if it has exactly this already.

        A board whose power came on a moment ago is waited for. Raises ``FlashError``. Whatever went wrong, the next
        flash recovers the board.
        """
        good = flashing.as_image(self, image)
        self.modes.arrive()
        return flashing.flash(self, good, force=force, progress=progress)

    @verb
    def flash_unchecked(self, data: bytes, address: int) -> None:
        """Write whatever ``data`` is, as a bare ``dfu-util`` would; see ``flashing.flash_unchecked``."""
        flashing.flash_unchecked(self, data, address)

    @verb
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
