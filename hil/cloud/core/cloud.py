"""The Device Cloud itself: its parts put together, its life, and every verb of the API as a coroutine.

Everything here runs on one event loop; :mod:`hil.cloud.sync.facade` is the same for synchronous callers. No
feature is known here: :mod:`hil.cloud.compose` says which there are.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from hil.clock import Clock, LoopClock
from hil.cloud.config import CloudConfig
from hil.cloud.core.accounts import Account
from hil.cloud.core.api import Api
from hil.cloud.core.devices import Devices
from hil.cloud.core.feature import Feature
from hil.cloud.core.routes import Mount, Route
from hil.cloud.core.sessions import Sessions
from hil.cloud.core.updating import Updating
from hil.cloud.gateways.tcp import TcpGateway
from hil.cloud.gateways.udp import UdpGateway
from hil.cloud.session import outbound
from hil.cloud.session.describing import describe
from hil.cloud.session.services import Services
from hil.cloud.session.updates import OtaReport
from hil.cloud.state.activity import Activity
from hil.cloud.state.devices import DeviceView
from hil.cloud.state.events import CloudEvent, EventBus
from hil.cloud.state.happenings import Called, Published, Value, VariableRead
from hil.cloud.state.names import DeviceRef, checked_event, device_id_of
from hil.cloud.state.pulse import Pulse
from hil.cloud.state.store import Store
from hil.cloud.state.users import Users
from hil.device.platforms import Transport
from hil.errors import DeviceOffline, UsageError

AFeature = TypeVar("AFeature", bound=Feature)


class Cloud(Api):
    """One Device Cloud. ``await start()`` opens it, ``await stop()`` closes it and keeps its state.

    ``clock`` is what all its timers and times follow, the real time unless told. What the verbs do and
    raise is said in :class:`Api`.
    """

    def __init__(
        self, config: CloudConfig, features: Sequence[type[Feature]] = (), clock: Clock | None = None
    ) -> None:
        self._config = config
        self._temporary = (
            tempfile.TemporaryDirectory(prefix="hil-cloud-") if config.state_dir is None else None
        )
        self.state_dir = config.state_dir or Path(self._temporary.name if self._temporary else "")
        self.services = Services.open(config, self.state_dir, clock)
        self.sessions = Sessions(self.services)
        self._devices = Devices(self.services, self.sessions)
        self._pulse = Pulse()
        self._updating = Updating(self.services, self._pulse)
        self._tcp = TcpGateway(self.services, self.sessions.make)
        self._udp = UdpGateway(self.services, self.sessions.make)
        self.tcp_port = 0
        self.udp_port = 0
        self.services.presence.contacts.listeners.append(self._pulse.fire)
        self._features: list[Feature] = []
        try:
            for kind in features:
                self._add(kind)
        except BaseException:
            self._close_state()
            raise

    # Parts

    @property
    def config(self) -> CloudConfig:
        return self._config

    @property
    def clock(self) -> LoopClock:
        return self.services.clock

    @property
    def store(self) -> Store:
        return self.services.store

    @property
    def users(self) -> Users:
        return self.services.users

    @property
    def devices(self) -> Devices:
        return self._devices

    @property
    def bus(self) -> EventBus:
        return self.services.bus

    @property
    def activity(self) -> Activity:
        return self.services.activity

    @property
    def routes(self) -> Sequence[Route | Mount]:
        return [route for feature in self._features for route in feature.routes]

    def feature(self, kind: type[AFeature]) -> AFeature:
        """The feature of this class. Raises ``UsageError`` when the cloud was put together without it."""
        for feature in self._features:
            if isinstance(feature, kind):
                return feature
        raise UsageError(
            f"this cloud has no {kind.__name__}",
            found=", ".join(feature.name for feature in self._features) or "no feature at all",
            hint="put the cloud together with hil.cloud.compose",
        )

    def _add(self, kind: type[Feature]) -> None:
        if kind.migrations:
            self.store.migrate(kind.name, kind.migrations)
        feature = kind(self)
        self._features.append(feature)
        if feature.meter is not None:
            self.services.meters.add(feature.meter)
        if feature.listener is not None:
            self.bus.listeners.append(feature.listener)

    # Life

    async def start(self) -> None:
        """Listen on all ports and take up the sessions of the last run."""
        config = self.config
        self.tcp_port = await self._tcp.start(config.host, config.tcp_port)
        self.udp_port = await self._udp.start(config.host, config.udp_port)
        for session, stored in self._udp.restore():
            self.sessions.take_up(session, stored)
        for feature in self._features:
            await feature.open()

    async def stop(self) -> None:
        """Close everything. Devices on UDP keep their sessions and resume them with the next cloud."""
        self.bus.close()
        await self._updating.stop()
        # Before the features: whoever waits there for a device's answer is told at once that none will come.
        self.sessions.end("the cloud stops")
        await self._tcp.stop()
        self._udp.stop()
        for feature in reversed(self._features):
            await feature.close()
        self._close_state()

    def _close_state(self) -> None:
        self.services.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    async def until(self, condition: Callable[[], bool], within: float) -> bool:
        """Whether ``condition`` holds within ``within`` seconds; asked after every contact and Describe."""
        return await self._pulse.until(condition, within)

    def key_for(self, transport: Transport) -> bytes:
        """The public key (SPKI DER) that boards of ``transport`` must have as their server key."""
        return self.services.keys.public_for(transport)

    # Verbs

    async def call(
        self, device: DeviceRef, function: str, argument: bytes | str = b"", timeout: float | None = None
    ) -> int:
        raw, patience = _bytes(argument), self._patience(timeout)
        with Account(self.activity, device, Called(function, _text(raw))) as account:
            session = self.sessions.reach(device)
            result = await outbound.call(session, function, raw, patience, account.bill)
            account.told = replace(account.told, result=result)
        return result

    async def read(self, device: DeviceRef, variable: str, timeout: float | None = None) -> Value:
        patience = self._patience(timeout)
        with Account(self.activity, device, VariableRead(variable)) as account:
            value = await outbound.read(self.sessions.reach(device), variable, patience, account.bill)
            account.told = replace(account.told, value=value)
        return value

    async def publish(
        self,
        name: str,
        data: bytes | str = b"",
        *,
        owner: str | None = None,
        ttl: int = 60,
        private: bool = True,
    ) -> CloudEvent:
        raw = _bytes(data)
        checked_event(name, raw, ttl)
        owner = owner or self.config.owner
        event = self.bus.record(name, raw, device_id=None, owner=owner, private=private, ttl=ttl)
        self.activity.tell(None, Published(name, event.data, len(raw)))
        self.sessions.distribute(event)
        return event

    async def send_event(self, device: DeviceRef, name: str, data: bytes | str = b"") -> None:
        raw = _bytes(data)
        checked_event(name, raw)
        outbound.send_event(self.sessions.reach(device), name, raw)

    async def signal(self, device: DeviceRef, on: bool) -> None:
        await outbound.set_signal(self.sessions.reach(device), on, self._patience(None))

    async def ping(self, device: DeviceRef, timeout: float | None = None) -> bool:
        try:
            session = self.sessions.reach(device)
        except DeviceOffline:
            return False
        return await outbound.ping_device(session, self._patience(timeout))

    async def describe(self, device: DeviceRef) -> DeviceView:
        await describe(self.sessions.reach(device), self.config.timing.describe)
        return self.devices.get(device)

    async def disconnect(self, device: DeviceRef) -> None:
        known = self.services.registry.require(device_id_of(device))
        self.sessions.drop(known, "disconnected by the cloud")

    async def start_flash(self, device: DeviceRef, binary: bytes) -> None:
        self._updating.start(self.sessions.reach(device), binary)

    async def flash(
        self, device: DeviceRef, binary: bytes, within: float = 60.0, *, unchecked: bool = False
    ) -> OtaReport:
        session = self.sessions.reach(device)
        known = self.services.registry.require(device_id_of(device))
        return await self._updating.flash(session, known, binary, within, unchecked=unchecked)

    def _patience(self, timeout: float | None) -> float:
        return self.config.call_timeout if timeout is None else timeout


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _bytes(data: bytes | str) -> bytes:
    return data.encode() if isinstance(data, str) else data
