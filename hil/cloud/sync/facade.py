"""The Device Cloud for synchronous callers: tests, fixtures, the command line.

The cloud runs on one background thread; every verb here waits for its counterpart there. Verbs and errors are
those of :class:`hil.cloud.core.Cloud`. A ``device`` is a 24-digit id or anything with a ``device_id``.
"""

from __future__ import annotations

import time
from types import TracebackType

from hil.cloud.config import CloudConfig
from hil.cloud.core import Cloud
from hil.cloud.session.outbound import Value
from hil.cloud.session.updates import OtaReport
from hil.cloud.state.devices import DeviceView
from hil.cloud.state.names import DeviceRef, device_id_of
from hil.cloud.state.presence import Contact
from hil.cloud.state.serverkeys import ServerKeys
from hil.cloud.sync.background import BackgroundLoop
from hil.cloud.sync.logs import EventLog, Mark, OperationsView
from hil.errors import CloudError, UsageError
from hil.observe import verb


class DeviceCloud:
    """One cloud; a context manager. Ports are real ones once it is started."""

    actor = "cloud"

    def __init__(self, config: CloudConfig | None = None) -> None:
        self.config = config or CloudConfig()
        self._loop: BackgroundLoop | None = None
        self._core: Cloud | None = None
        self._events: EventLog | None = None
        self._operations: OperationsView | None = None

    # Life

    def start(self) -> DeviceCloud:
        """Open the state, listen on all ports. Raises ``CloudError`` when a port is taken."""
        if self._core is not None:
            raise UsageError("the cloud is started already")
        loop = BackgroundLoop("hil-cloud")
        try:
            core = loop.call(Cloud, self.config)
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
        self._events = EventLog(core.bus.journal, self.mark)
        self._operations = OperationsView(core.operations.journal, self.mark)
        self._events.begin()
        self._operations.begin()
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

    def __enter__(self) -> DeviceCloud:
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

    # Addresses and keys

    @property
    def tcp_port(self) -> int:
        """Where TCP boards dial."""
        return self.core.tcp_port

    @property
    def udp_port(self) -> int:
        """Where UDP boards dial."""
        return self.core.udp_port

    @property
    def http_port(self) -> int:
        """Where the HTTP API answers; 0 when it is off."""
        return self.core.http_port

    @property
    def url(self) -> str:
        """Base address of the HTTP API; empty when it is off."""
        return self.core.url

    @property
    def server_keys(self) -> ServerKeys:
        """The cloud's own keys, whose public halves boards carry."""
        return self.core.services.keys

    # Users and devices

    @verb
    def create_user(self, name: str, password: str) -> None:
        """A new account. Raises ``Refused`` when it exists with a password."""
        self._background.call(self.core.users.create, name, password)

    def token(self, user: str = "hil") -> str:
        """A fresh access token of ``user`` that does not end; the account is made when it is new."""
        self._background.call(self.core.users.ensure, user)
        return self._background.call(self.core.users.issue_token, user, 0).token

    @verb
    def register(
        self,
        device_id: str,
        *,
        platform_id: int,
        public_key: bytes,
        owner: str = "hil",
        name: str | None = None,
    ) -> DeviceView:
        """Make a device and its public key (SPKI DER) known, or bring them up to date."""
        return self._background.call(
            self.core.register,
            device_id,
            platform_id=platform_id,
            public_key=public_key,
            owner=owner,
            name=name,
        )

    def device(self, device: DeviceRef) -> DeviceView:
        """What is known of a device. Raises ``NotFound``."""
        return self._background.call(self.core.device, device)

    def devices(self) -> list[DeviceView]:
        """Every device of this cloud, in the order of registration."""
        return self._background.call(self.core.devices)

    # Presence

    def mark(self) -> Mark:
        """This moment, in all logs."""
        services = self.core.services
        return Mark(
            events=len(services.bus.journal),
            operations=len(services.ledger.journal),
            contacts=len(services.presence.contacts),
            lines=len(services.log.journal),
            at=time.time(),
        )

    def online(self, device: DeviceRef) -> bool:
        """Whether the cloud believes that the device can be reached."""
        return self.core.services.presence.online(device_id_of(device))

    @verb
    def wait_online(self, device: DeviceRef, within: float = 30.0, since: Mark | None = None) -> None:
        """Wait until a device is online; with ``since``, until it has come online anew after that moment.

        Raises ``AssertionError`` with the end of the device's log.
        """
        device_id = device_id_of(device)
        contacts = self.core.services.presence.contacts
        began = time.monotonic()
        if since is not None:
            arrival = contacts.wait(
                lambda contact: contact.device_id == device_id and contact.is_arrival,
                position=since.contacts,
                within=within,
            )
            if arrival is None:
                raise self._still(device_id, "offline", within)
        left = max(0.0, within - (time.monotonic() - began))
        if not contacts.wait_until(lambda: self.online(device_id), within=left):
            raise self._still(device_id, "offline", within)

    @verb
    def wait_offline(self, device: DeviceRef, within: float = 30.0) -> None:
        """Wait until a device is offline. Raises ``AssertionError`` with the end of the device's log."""
        device_id = device_id_of(device)
        contacts = self.core.services.presence.contacts
        if not contacts.wait_until(lambda: not self.online(device_id), within=within):
            raise self._still(device_id, "online", within)

    @verb
    def never_online(self, device: DeviceRef, for_: float = 10.0) -> bool:
        """Whether nothing authentic comes from a device for ``for_`` seconds from now."""
        device_id = device_id_of(device)
        presence = self.core.services.presence
        before = presence.heard(device_id)
        return not presence.contacts.wait_until(lambda: presence.heard(device_id) > before, within=for_)

    def contacts(self, device: DeviceRef, since: Mark | None = None) -> list[Contact]:
        """The comings and goings of a device, oldest first."""
        device_id = device_id_of(device)
        position = 0 if since is None else since.contacts
        known = self.core.services.presence.contacts.since(position)
        return [contact for contact in known if contact.device_id == device_id]

    def _still(self, device_id: str, state: str, within: float) -> AssertionError:
        """Coming and going is what tests are about: that it fails to happen is their failure, not the cloud's."""
        lines = self.device_log(device_id)[-10:] or ["nothing"]
        hint = "is it registered with the key it has, and does it have this cloud's address and key?"
        text = f"device {device_id} is still {state} after {within:g} s; its device log ends:"
        return AssertionError("\n".join([text, *(f"  {line}" for line in lines), f"what to do: {hint}"]))

    # Verbs

    @verb
    def call(
        self,
        device: DeviceRef,
        function: str,
        argument: str | bytes = "",
        timeout: float | None = None,
    ) -> int:
        """Call a function. Raises ``DeviceOffline`` at once, ``DeviceTimeout``, ``NotFound``, ``Refused``."""
        return self._background.run(self.core.call(device, function, argument, timeout))

    @verb
    def read(self, device: DeviceRef, variable: str, timeout: float | None = None) -> Value:
        """Read a variable. Raises as :meth:`call`."""
        return self._background.run(self.core.read(device, variable, timeout))

    @verb
    def publish(self, name: str, data: str | bytes = "", *, owner: str = "hil", ttl: int = 60) -> None:
        """Publish an event to the devices and streams of ``owner``."""
        self._background.run(self.core.publish(name, data, owner=owner, ttl=ttl))

    @verb
    def send_event(self, device: DeviceRef, name: str, data: str | bytes = "") -> None:
        """Send an event to one device alone, as the cloud itself does."""
        self._background.run(self.core.send_event(device, name, data))

    @verb
    def flash(
        self, device: DeviceRef, binary: bytes, within: float = 60.0, *, unchecked: bool = False
    ) -> OtaReport:
        """Update a device over the air and wait until it is back with the new firmware, or has failed.

        With ``unchecked`` the cloud sends the file whatever it is: the device is the judge.
        """
        return self._background.run(self.core.flash(device, binary, within, unchecked=unchecked))

    @verb
    def start_flash(self, device: DeviceRef, binary: bytes) -> None:
        """Start an update and return; ``spark/flash/status`` events tell how it goes."""
        self._background.run(self.core.start_flash(device, binary))

    @verb
    def disconnect(self, device: DeviceRef) -> None:
        """Break a device's session for good: it makes a full handshake to come back. Fine for an offline one."""
        self._background.run(self.core.disconnect(device))

    @verb
    def signal(self, device: DeviceRef, on: bool) -> None:
        """Start or stop the rainbow on a device's LED."""
        self._background.run(self.core.signal(device, on))

    @verb
    def ping(self, device: DeviceRef, timeout: float | None = None) -> bool:
        """Whether a device answers; false at once for an offline one."""
        return self._background.run(self.core.ping(device, timeout))

    @verb
    def describe(self, device: DeviceRef) -> DeviceView:
        """Ask a device to describe itself afresh."""
        return self._background.run(self.core.describe(device))

    # Logs

    @property
    def events(self) -> EventLog:
        """The events, to assert on."""
        if self._events is None:
            raise CloudError("no events yet: the cloud was never started")
        return self._events

    @property
    def operations(self) -> OperationsView:
        """The Data Operations, to assert on."""
        if self._operations is None:
            raise CloudError("no operations yet: the cloud was never started")
        return self._operations

    def device_log(self, device_id: DeviceRef, since: Mark | None = None) -> list[str]:
        """What passed between the cloud and a device, in words, oldest first; earlier runs too."""
        start = 0.0 if since is None else since.at
        return self.core.services.log.lines(device_id_of(device_id), start)
