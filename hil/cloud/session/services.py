"""The parts of one cloud that everything else leans on, made together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hil.clock import Clock, LoopClock, SystemClock
from hil.cloud.config import CloudConfig
from hil.cloud.session.meter import Meters
from hil.cloud.session.traffic import Traffic
from hil.cloud.state.activity import Activity
from hil.cloud.state.devicelog import DeviceLog
from hil.cloud.state.events import EventBus
from hil.cloud.state.presence import Presence
from hil.cloud.state.registry import Registry
from hil.cloud.state.serverkeys import ServerKeys
from hil.cloud.state.store import Store
from hil.cloud.state.users import Users


@dataclass(frozen=True, slots=True)
class Services:
    """What a running cloud shares among its gateways, sessions and API. Features add to ``meters``."""

    config: CloudConfig
    clock: LoopClock
    store: Store
    keys: ServerKeys
    users: Users
    registry: Registry
    meters: Meters
    bus: EventBus
    activity: Activity
    log: DeviceLog
    presence: Presence
    traffic: Traffic

    @classmethod
    def open(cls, config: CloudConfig, state_dir: Path, clock: Clock | None = None) -> Services:
        """Open (or create) the state in ``state_dir``. ``clock``: the real time unless told."""
        clock = clock or SystemClock()
        store = Store(state_dir, clock.time)
        try:
            users = Users(store)
            users.ensure(config.owner)
            registry = Registry(store)
            activity = Activity(registry.name_of, clock.time)
            return cls(
                config=config,
                clock=clock.on_loop(),
                store=store,
                keys=ServerKeys.load_or_create(state_dir),
                users=users,
                registry=registry,
                meters=Meters(),
                bus=EventBus(store),
                activity=activity,
                log=DeviceLog(store, activity),
                presence=Presence(clock.time),
                traffic=Traffic(clock.time),
            )
        except BaseException:
            store.close()
            raise

    def close(self) -> None:
        """End all streams and close the store."""
        self.bus.close()
        self.store.close()
