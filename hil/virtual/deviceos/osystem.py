"""One start of Device OS on a virtual board: application, cloud connection and listening mode together.

Facts: USB fact sheet 2.1 (the end of listening mode), 4.3 (what requests do as soon as they are announced).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from hil.device.requests import RESTARTING
from hil.virtual.app.apps import ApplicationHost, ApplicationImage
from hil.virtual.app.wiring import ApplicationFactory
from hil.virtual.hardware.machine import RESET_CODES, Machine

_NO_TCP = (
    "configuration byte 2977 says TCP: a virtual Electron speaks UDP only and stays offline (0xFF for UDP)"
)


class CloudConnection(Protocol):
    """What the machine does with its cloud client."""

    @property
    def state(self) -> int:
        """0 disconnected, 1 connecting, 2 connected, 3 disconnecting."""

    def start(self, auto_connect: bool = True) -> None: ...

    def connect(self) -> None: ...

    def disconnect(self) -> None: ...

    def drop(self) -> None: ...

    def stop(
        self,
        goodbye_reason: str | None = None,
        *,
        reset_code: int | None = None,
        sleep_seconds: int | None = None,
    ) -> None: ...


CloudFactory = Callable[[ApplicationHost], CloudConnection]


class OperatingSystem:
    """Device OS while it runs; a reset ends it and makes a new one.

    ``make_cloud`` makes the cloud client for an application host.
    """

    def __init__(
        self,
        machine: Machine,
        factory: ApplicationFactory | None,
        image: ApplicationImage | None,
        make_cloud: CloudFactory,
    ) -> None:
        self.machine = machine
        self._make_cloud = make_cloud
        self._started = self.machine.clock.monotonic()
        self._listened = 0
        self.application = ApplicationHost(machine, factory, image)
        self.cloud = make_cloud(self.application)

    @property
    def uptime(self) -> int:
        """Seconds since this start."""
        return int(self.machine.clock.monotonic() - self._started)

    @property
    def _goes_online(self) -> bool:
        return self.application.wants_cloud and self.machine.speaks_its_transport

    def start(self) -> None:
        """Start the application and go online as its system mode says, unless the board listens."""
        self.application.start()
        if not self.machine.speaks_its_transport:
            self.machine.log(_NO_TCP)
        if self._goes_online and self.machine.without_credentials:
            self.machine.listening = True
        if self.machine.listening:
            self._limit_listening()
        self.cloud.start(auto_connect=self._goes_online and not self.machine.listening)

    def stop(self, reason: str | None) -> None:
        """End. ``reason`` is the reset reason told to the cloud, ``None`` when there is no time for a goodbye."""
        if reason is None:
            self.cloud.stop()
        else:
            self.cloud.stop("reset", reset_code=RESET_CODES.get(reason, RESET_CODES["unknown"]))
        self.application.stop()

    def sleep(self, seconds: float) -> None:
        """Network off with a goodbye that says for how long; the application stays where it is."""
        self.cloud.stop("sleep", sleep_seconds=int(seconds))

    def wake(self) -> None:
        """Network on again."""
        self.cloud = self._make_cloud(self.application)
        self.cloud.start(auto_connect=self._goes_online)

    def start_listening(self) -> None:
        """Take the board offline and give its serial port to the console."""
        if not self.machine.listening:
            self.machine.listening = True
            self._limit_listening()
            self.cloud.disconnect()

    def stop_listening(self) -> None:
        """Back to the application and the cloud."""
        if self.machine.listening:
            self.machine.listening = False
            if self.application.wants_cloud:
                self.connect()

    def connect(self) -> bool:
        """Go online, or listen for the credentials that this takes. False when this board cannot."""
        if not self.machine.speaks_its_transport:
            self.machine.log(_NO_TCP)
            return False
        if self.machine.without_credentials:
            self.start_listening()
            return True
        self.machine.associate()
        self.cloud.connect()
        return True

    def announced(self, request: int) -> None:
        """A control request was announced; those that restart the board take it off the cloud at once."""
        if request in RESTARTING:
            self.cloud.disconnect()

    def _limit_listening(self) -> None:
        """An Electron does not listen for ever; Photons do."""
        power = self.machine.power
        limit = self.machine.platform.family.listening_limit
        if limit is None or power is None:
            return
        self._listened += 1
        episode = self._listened

        def end() -> None:
            if self._listened == episode:
                self.stop_listening()

        power.within_start(limit, end)
