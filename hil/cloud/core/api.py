"""What a feature may ask of the cloud. Features know this and nothing else of the core.

A ``device`` is a 24-digit id or anything with a ``device_id``. Everything runs on the cloud's event loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from hil.clock import LoopClock
from hil.cloud.config import CloudConfig
from hil.cloud.core.devices import Devices
from hil.cloud.core.routes import Mount, Route
from hil.cloud.session.updates import OtaReport
from hil.cloud.state.activity import Activity
from hil.cloud.state.devices import DeviceView
from hil.cloud.state.events import CloudEvent, EventBus
from hil.cloud.state.happenings import Value
from hil.cloud.state.names import DeviceRef
from hil.cloud.state.store import Store
from hil.cloud.state.users import Users


class Api(Protocol):
    """The cloud's parts and verbs."""

    # Parts

    @property
    def config(self) -> CloudConfig:
        """How the cloud was set up."""

    @property
    def clock(self) -> LoopClock:
        """The cloud's time: timers for what waits for protocol time, ``time()`` for people and stored rows."""

    @property
    def store(self) -> Store:
        """Where a feature keeps the tables that its migrations have made."""

    @property
    def users(self) -> Users:
        """Accounts and tokens."""

    @property
    def devices(self) -> Devices:
        """The devices: views of them, whose they are, their keys."""

    @property
    def bus(self) -> EventBus:
        """Events, to subscribe to."""

    @property
    def activity(self) -> Activity:
        """What happens, entry by entry, to listen to."""

    @property
    def routes(self) -> Sequence[Route | Mount]:
        """What all features together offer over HTTP."""

    # Verbs

    async def call(
        self, device: DeviceRef, function: str, argument: bytes | str = b"", timeout: float | None = None
    ) -> int:
        """Call a function. Raises ``DeviceOffline`` at once, ``DeviceTimeout``, ``NotFound``, ``Refused``."""

    async def read(self, device: DeviceRef, variable: str, timeout: float | None = None) -> Value:
        """Read a variable. Raises as :meth:`call`."""

    async def publish(
        self,
        name: str,
        data: bytes | str = b"",
        *,
        owner: str | None = None,
        ttl: int = 60,
        private: bool = True,
    ) -> CloudEvent:
        """Publish as the API does: free itself, each delivery to a device counted. Raises ``Refused``."""

    async def send_event(self, device: DeviceRef, name: str, data: bytes | str = b"") -> None:
        """Send an event to one device alone, subscribed or not: how the cloud itself talks to a device."""

    async def signal(self, device: DeviceRef, on: bool) -> None:
        """Start or stop the rainbow on a device's LED."""

    async def ping(self, device: DeviceRef, timeout: float | None = None) -> bool:
        """Whether a device answers; false at once for an offline one."""

    async def describe(self, device: DeviceRef) -> DeviceView:
        """Ask a device to describe itself afresh."""

    async def disconnect(self, device: DeviceRef) -> None:
        """Break a device's session for good: it must make a full handshake to come back.

        An offline device loses the session that it could have resumed.
        """

    async def start_flash(self, device: DeviceRef, binary: bytes) -> None:
        """Start an update in the background; ``spark/flash/status`` events tell how it goes.

        Raises ``DeviceOffline``, or ``Refused`` for a file the device cannot take.
        """

    async def flash(
        self, device: DeviceRef, binary: bytes, within: float = 60.0, *, unchecked: bool = False
    ) -> OtaReport:
        """Update a device and wait until it is back with the new firmware, or has failed. ``within`` seconds.

        With ``unchecked`` the file goes to the device whatever it is: the device is the judge. Raises
        ``DeviceOffline``, ``Refused`` when it cannot even begin.
        """
