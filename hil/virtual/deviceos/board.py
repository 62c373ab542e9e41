"""A virtual board: power, resets, modes. Every reset leaves the bus and comes back with the face of the next mode.

Facts: USB fact sheet 2 (ways into the modes, times), protocol fact sheet 3.8 (reset reasons).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hil.clock import Clock
from hil.device.platforms import Platform
from hil.errors import UsageError
from hil.virtual.app.apps import ApplicationHost, ApplicationImage
from hil.virtual.app.library import ApplicationLibrary
from hil.virtual.app.tinker import Tinker
from hil.virtual.app.wiring import ApplicationFactory
from hil.virtual.cloudclient.client import CloudClient
from hil.virtual.cloudclient.link import BoardNetwork
from hil.virtual.deviceos.cdc import NormalMode
from hil.virtual.deviceos.osystem import CloudConnection, OperatingSystem
from hil.virtual.deviceos.radio import RadioLink
from hil.virtual.hardware.bootloader import Bootloader
from hil.virtual.hardware.factory import TINKER
from hil.virtual.hardware.loader import Boot
from hil.virtual.hardware.machine import Machine
from hil.virtual.hardware.scheduler import Scheduler, ThreadScheduler
from hil.virtual.kernel.usbdevice import UsbDevice

ORDERLY_DELAY = 0.1

__all__ = ["BoardNetwork", "BoardSpec", "VirtualBoard"]


FLASH_POLL = 20  # ms that an erase or a write takes; a real board's flash is about four times slower


class Port(Protocol):
    """The socket that the board is plugged into."""

    def attach(self, device: UsbDevice) -> None: ...

    def detach(self) -> None: ...


@dataclass(frozen=True, slots=True)
class BoardSpec:
    """Which board this is. ``device_id`` is 24 hex digits in lower case."""

    slot: str
    port: str
    platform: Platform
    device_os: str
    device_id: str


MakeCloud = Callable[[Machine, ApplicationHost], CloudConnection]


class VirtualBoard:
    """One board on one USB port.

    ``state_dir`` keeps its flash. ``network`` is where its radio ends. ``library`` has the twins it can run; without
    one those of the harness. ``clock`` is what it follows, the real time unless told. ``make_cloud`` and
    ``scheduler`` are for tests.
    Mode changes run on the board's own thread; ``power_on`` and ``power_off`` return when they are done.
    """

    def __init__(
        self,
        spec: BoardSpec,
        port: Port,
        network: BoardNetwork,
        state_dir: Path,
        *,
        library: ApplicationLibrary | None = None,
        clock: Clock | None = None,
        make_cloud: MakeCloud | None = None,
        scheduler: Scheduler | None = None,
    ) -> None:
        self.spec = spec
        self.machine = Machine(spec.platform, spec.device_os, spec.device_id, state_dir, clock)
        self.machine.power = self
        self.machine.ip_address = getattr(network, "address", None)
        self._port = port
        self._library = library or ApplicationLibrary()
        self._make_cloud = make_cloud or (
            lambda machine, host: CloudClient(machine, RadioLink(machine, network), host)
        )
        self._scheduler = scheduler or ThreadScheduler(f"board {spec.slot}", self.machine.clock)
        self._system: OperatingSystem | None = None
        self._start_number = 0
        self._powered = False

    @property
    def system(self) -> OperatingSystem | None:
        """Device OS while it runs; ``None`` in DFU mode and without power."""
        return self._system

    # -- power ---------------------------------------------------------------------------------------

    def power_on(self, mode: str = "normal") -> None:
        """Plug the board in; ``mode`` ``dfu``, ``listening`` or ``safe`` as with its MODE button held."""
        self._scheduler.run(lambda: self._power_up(mode))

    def power_off(self) -> None:
        """Unplug it: no goodbye, backup RAM is lost."""
        self._scheduler.run(self._power_down)

    def press_reset(self) -> None:
        """The RESET button."""
        self.request_reset("pin_reset", delay=0.0)

    def close(self) -> None:
        """Unplug it for good; the flash is kept in its files."""
        self.power_off()
        self._scheduler.close()

    def request_reset(self, reason: str, *, mode: str = "normal", delay: float = 1.0) -> None:
        """Reset after ``delay`` seconds. A reset that comes first cancels this one.

        ``mode``: ``normal``, ``safe``, ``dfu``, ``listening`` or ``safe_listening``. With a delay below 0.1 s it is a
        forced one, which has no time to say goodbye to the cloud.
        """
        asked_in = self._start_number

        def reset() -> None:
            if self._powered and self._start_number == asked_in:
                self._halt(reason if delay >= ORDERLY_DELAY else None)
                self._start(mode, reason)

        self._scheduler.call_later(delay, reset)

    def within_start(self, delay: float, job: Callable[[], None]) -> None:
        """Run ``job`` on the board's thread in ``delay`` seconds, unless the board restarted meanwhile."""
        asked_in = self._start_number

        def run() -> None:
            if self._powered and self._start_number == asked_in:
                job()

        self._scheduler.call_later(delay, run)

    def request_sleep(self, seconds: float) -> None:
        """Leave bus and network for ``seconds``; the application goes on afterwards."""
        asked_in = self._start_number

        def wake() -> None:
            if self._powered and self._start_number == asked_in and self._system is not None:
                self._attach_normal(self._system)
                self._system.wake()

        def sleep() -> None:
            if self._powered and self._start_number == asked_in and self._system is not None:
                self._detach()
                self._system.sleep(seconds)
                self._scheduler.call_later(seconds, wake)

        # The reply to the command that asked for it is fetched first.
        self._scheduler.call_later(0.2, sleep)

    # -- on the board's thread -------------------------------------------------------------------------

    def _power_up(self, mode: str) -> None:
        if not self._powered:
            self._powered = True
            self._start(mode, "power_down")

    def _power_down(self) -> None:
        if self._powered:
            self._powered = False
            self._start_number += 1
            self._halt(None)
            self.machine.backup.clear()

    def _halt(self, goodbye: str | None) -> None:
        self._detach()
        system, self._system = self._system, None
        if system is not None:
            system.stop(goodbye)
        self.machine.flush()

    def _start(self, mode: str, reason: str) -> None:
        self._start_number += 1
        if mode == "dfu":
            self._start_bootloader()
            return
        listening = mode in ("listening", "safe_listening")
        boot = self.machine.start(reason, safe=mode in ("safe", "safe_listening"), listening=listening)
        if not boot.system_ok:
            self.machine.log("no valid system part: staying in the bootloader")
            self._start_bootloader()
            return
        self._system = self._operating_system(boot)
        self.machine.remember_product()
        # The application first: a control request must not find it before setup() has run.
        self._system.start()
        self._attach_normal(self._system)

    def _start_bootloader(self) -> None:
        spec = self.spec

        def leave(safe_mode: bool, delay: float) -> None:
            self.request_reset("dfu_mode", mode="safe" if safe_mode else "normal", delay=delay)

        self._port.attach(
            Bootloader(
                spec.platform,
                spec.device_os,
                spec.device_id,
                self.machine.memories,
                leave,
                poll_timeout=FLASH_POLL,
            )
        )

    def _operating_system(self, boot: Boot) -> OperatingSystem:
        """Device OS with the application in flash; one that cannot run leaves the board in safe mode, saying why."""
        try:
            return self._system_with(*self._application(boot))
        except UsageError as error:
            why = (error.what, error.found, error.hint)
            self.machine.refuse_application("; ".join(part for part in why if part))
            return self._system_with(None, None)

    def _system_with(
        self, factory: ApplicationFactory | None, image: ApplicationImage | None
    ) -> OperatingSystem:
        return OperatingSystem(
            self.machine, factory, image, lambda host: self._make_cloud(self.machine, host)
        )

    def _application(self, boot: Boot) -> tuple[ApplicationFactory | None, ApplicationImage | None]:
        """What runs, and the image it comes from. Raises ``UsageError`` for an application without a twin."""
        if boot.nameless:
            raise UsageError(
                "the application in flash does not say its name, so its twin cannot be found",
                hint="build it with the marker line HIL-APP:<name>@<version>, and write the twin of that name",
            )
        name = boot.application
        if self.machine.safe_mode or name is None:
            return None, None
        image = ApplicationImage(name.name, name.version, name.build)
        return Tinker if name.name == TINKER else self._library.load(name.name), image

    def _attach_normal(self, system: OperatingSystem) -> None:
        face = NormalMode(system)
        self.machine.serial_write, self.machine.serial_open = face.port.write, face.port.is_open
        self._port.attach(face)

    def _detach(self) -> None:
        self._port.detach()
