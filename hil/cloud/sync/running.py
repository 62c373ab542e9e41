"""A cloud on a thread of its own: started, stopped, and reached from synchronous code."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from hil.clock import Clock
from hil.cloud.billing.feature import Billing
from hil.cloud.compose import compose
from hil.cloud.config import CloudConfig
from hil.cloud.core.cloud import Cloud
from hil.cloud.state.activity import Entry
from hil.cloud.state.happenings import Happening
from hil.cloud.state.names import DeviceRef, device_id_of
from hil.cloud.sync.background import BackgroundLoop
from hil.cloud.sync.logs import Mark
from hil.errors import UsageError


class Running:
    """What all parts of the synchronous face share: the cloud, its thread, and where its logs are now."""

    actor = "cloud"

    def __init__(self, config: CloudConfig | None = None, clock: Clock | None = None) -> None:
        self.config = config or CloudConfig()
        self._clock = clock
        self._loop: BackgroundLoop | None = None
        self._core: Cloud | None = None

    def start(self) -> Self:
        """Open the state, listen on all ports. Raises ``CloudError`` when a port is taken."""
        if self._core is not None:
            raise UsageError("the cloud is started already")
        loop = BackgroundLoop("hil-cloud")
        try:
            core = loop.call(compose, self.config, clock=self._clock)
        except BaseException:
            loop.close()
            raise
        try:
            loop.run(core.start())
        except BaseException:
            loop.run(core.stop())
            loop.close()
            raise
        self._loop, self._core = loop, core
        return self

    def stop(self) -> None:
        """Close everything; the state stays in its directory. May be called twice."""
        core, loop = self._core, self._loop
        self._core = self._loop = None
        if core is not None and loop is not None:
            try:
                loop.run(core.stop())
            finally:
                loop.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def core(self) -> Cloud:
        """The asynchronous cloud underneath; use it on its own loop only. Raises ``UsageError`` when stopped."""
        if self._core is None:
            raise UsageError("the cloud is not running", hint="start it, or use it as a context manager")
        return self._core

    @property
    def _background(self) -> BackgroundLoop:
        if self._loop is None:
            raise UsageError("the cloud is not running", hint="start it, or use it as a context manager")
        return self._loop

    def mark(self) -> Mark:
        """This moment, in all logs."""
        core = self.core
        services = core.services
        ledger = core.feature(Billing).ledger
        return Mark(
            events=len(services.bus.journal),
            operations=len(ledger.journal),
            contacts=len(services.presence.contacts),
            lines=len(services.log.journal),
            at=core.clock.time(),
            spent=dict(ledger.spent),
        )

    def tell(self, device: DeviceRef, what: Happening) -> None:
        """Say to whoever follows the cloud what it cannot see by itself."""
        self._background.call(self.core.activity.tell, device_id_of(device), what)

    def told(self, device: DeviceRef, since: Mark | None = None) -> list[Entry]:
        """What happened with a device, data, arguments, results and costs with it, oldest first.

        The last 1000 entries of all devices are there.
        """
        device_id, start = device_id_of(device), 0.0 if since is None else since.at
        entries = self._background.call(self.core.activity.recent)
        return [entry for entry in entries if entry.device_id == device_id and entry.at >= start]

    def messages(self, device: DeviceRef, since: Mark | None = None) -> list[str]:
        """The CoAP messages between the cloud and a device, decrypted, a line each, oldest first.

        The last 4096 of all devices are there.
        """
        start = 0.0 if since is None else since.at
        traffic = self.core.services.traffic
        return [str(each) for each in self._background.call(traffic.of, device_id_of(device), start)]

    def session_keys(self, device: DeviceRef) -> str:
        """The keys of a device's session as lines of a key log file; empty when it has none."""
        session = self._background.call(self.core.sessions.of, device_id_of(device))
        return "" if session is None else f"{session.link.key_log()}\n"

    def device_log(self, device_id: DeviceRef, since: Mark | None = None) -> list[str]:
        """What passed between the cloud and a device, in words, oldest first; earlier runs too."""
        start = 0.0 if since is None else since.at
        return self.core.services.log.lines(device_id_of(device_id), start)
