"""One start of Device OS on a virtual board: application, cloud connection and listening mode together."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from hil.virtual.apps import ApplicationFactory, ApplicationHost, ApplicationImage
from hil.virtual.machine import RESET_CODES, Machine


class CloudConnection(Protocol):
    """What the machine does with its cloud client."""

    @property
    def state(self) -> int:
        """0 disconnected, 1 connecting, 2 connected, 3 disconnecting."""

    def start(self, auto_connect: bool = True) -> None: ...

    def connect(self) -> None: ...

    def disconnect(self) -> None: ...

    def drop(self) -> None: ...

    def stop(self, goodbye_reason: str | None = None, *, reset_code: int | None = None) -> None: ...


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
        self._started = time.monotonic()
        self.application = ApplicationHost(machine, factory, image)
        self.cloud = make_cloud(self.application)

    @property
    def uptime(self) -> int:
        """Seconds since this start."""
        return int(time.monotonic() - self._started)

    def start(self) -> None:
        """Run ``setup()`` and go online, unless the board listens."""
        self.application.start()
        self.cloud.start(auto_connect=not self.machine.listening)

    def stop(self, reason: str | None) -> None:
        """End. ``reason`` is the reset reason told to the cloud, ``None`` when there is no time for a goodbye."""
        if reason is None:
            self.cloud.stop()
        else:
            self.cloud.stop("reset", reset_code=RESET_CODES.get(reason, RESET_CODES["unknown"]))
        self.application.stop()

    def sleep(self) -> None:
        """Network off with a sleep goodbye; the application stays where it is."""
        self.cloud.stop("sleep")

    def wake(self) -> None:
        """Network on again."""
        self.cloud = self._make_cloud(self.application)
        self.cloud.start()

    def start_listening(self) -> None:
        """Take the board offline and give its serial port to the console."""
        if not self.machine.listening:
            self.machine.listening = True
            self.cloud.disconnect()

    def stop_listening(self) -> None:
        """Back to the application and the cloud."""
        if self.machine.listening:
            self.machine.listening = False
            self.cloud.connect()
