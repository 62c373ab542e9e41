"""The parts of one cloud that everything else leans on, made together."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hil.clock import Clock, LoopClock, SystemClock
from hil.cloud.config import CloudConfig
from hil.cloud.session.meter import Meters
from hil.cloud.session.traffic import Traffic
from hil.cloud.state.activity import Activity
from hil.cloud.state.devicelog import DeviceLog
from hil.cloud.state.events import EventBus
from hil.cloud.state.happenings import Trouble
from hil.cloud.state.presence import Presence
from hil.cloud.state.registry import Registry
from hil.cloud.state.serverkeys import ServerKeys
from hil.cloud.state.store import Store
from hil.cloud.state.trouble import StateFailed, keeping
from hil.cloud.state.users import Users
from hil.errors import UsageError
from hil.wire.messages import LAST_SECOND


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
        """Open (or create) the state in ``state_dir``. ``clock``: the real time unless told.

        Raises ``UsageError`` for a state that cannot be used and for a clock that devices cannot be told the time of.
        """
        clock = clock or SystemClock()
        with keeping(state_dir):
            return cls._open(config, state_dir, clock)

    @classmethod
    def _open(cls, config: CloudConfig, state_dir: Path, clock: Clock) -> Services:
        _check_year(clock.time())
        store = Store(state_dir, clock.time)
        try:
            users = Users(store)
            users.ensure(config.owner)
            registry = Registry(store)
            activity = Activity(registry.name_of, clock.time)
            log = DeviceLog(store, activity, config.retention)
            for device_id, line in registry.unreadable.lines:
                log.add(device_id, line)
            store.on_trouble = partial(_tell_trouble, activity)
            return cls(
                config=config,
                clock=clock.on_loop(),
                store=store,
                keys=ServerKeys.load_or_create(state_dir),
                users=users,
                registry=registry,
                meters=Meters(),
                bus=EventBus(store, config.retention),
                activity=activity,
                log=log,
                presence=Presence(clock.time, config.retention.journal),
                traffic=Traffic(clock.time),
            )
        except BaseException:
            store.close()
            raise

    def close(self) -> None:
        """End all streams and close the store."""
        self.bus.close()
        self.store.close()


def _check_year(now: float) -> None:
    """Device time is 4 bytes of seconds (protocol fact sheet 3.7): it ends on 2106-02-07."""
    if not 0 <= now <= LAST_SECOND:
        raise UsageError(
            "the cloud's clock shows a time that cannot be told to a device",
            expected="a moment between 1970-01-01 and 2106-02-07",
            found=f"{now:.0f} seconds since 1970",
            hint="set this machine's clock (`date`), or start the clock that is followed anew",
        )


def _tell_trouble(activity: Activity, error: StateFailed | None) -> None:
    said = (
        "the state can be written again" if error is None else f"{error.what} ({error.found}); {error.hint}"
    )
    activity.tell(None, Trouble(said))
