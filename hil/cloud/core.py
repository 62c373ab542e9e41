"""The Device Cloud itself: sessions by device, and every verb of the API as a coroutine.

Everything here runs on one event loop. :mod:`hil.cloud.sync.facade` is the same for synchronous callers.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hil.cloud.billing.operations import Ledger
from hil.cloud.config import CloudConfig
from hil.cloud.gateways.tcp import TcpGateway
from hil.cloud.gateways.udp import UdpGateway
from hil.cloud.session import outbound
from hil.cloud.session.describing import describe
from hil.cloud.session.inbound import HANDLERS
from hil.cloud.session.link import Link
from hil.cloud.session.outbound import Value
from hil.cloud.session.services import Services
from hil.cloud.session.session import DeviceSession, recently
from hil.cloud.session.updates import OtaReport, Update, runs_module
from hil.cloud.state.devices import Device, DeviceView, view_of
from hil.cloud.state.events import CloudEvent, EventBus
from hil.cloud.state.names import DeviceRef, checked_event, device_id_of
from hil.cloud.state.presence import Contact, ContactKind
from hil.cloud.state.pulse import Pulse
from hil.cloud.state.registry import pem_to_spki, transport_of_key
from hil.cloud.state.sessionstore import StoredSession
from hil.cloud.state.users import User, Users
from hil.device.platforms import Transport, by_name
from hil.errors import DeviceOffline, NotOwner, Refused
from hil.wire.coap.message import ping

if TYPE_CHECKING:
    from hil.cloud.http.server import Server

STATUS_EVENT = "spark/status"
# What a device provisioned by its key alone is taken for until its Hello says better.
_LIKELY_PLATFORM = {Transport.TCP: by_name("photon").id, Transport.DTLS: by_name("argon").id}


class Cloud:
    """One Device Cloud. ``await start()`` opens it, ``await stop()`` closes it and keeps its state."""

    def __init__(self, config: CloudConfig) -> None:
        self.config = config
        self._temporary = (
            tempfile.TemporaryDirectory(prefix="hil-cloud-") if config.state_dir is None else None
        )
        self.state_dir = config.state_dir or Path(self._temporary.name if self._temporary else "")
        self.services = Services.open(config, self.state_dir)
        self._sessions: dict[str, DeviceSession] = {}
        self._tasks: set[asyncio.Task[OtaReport]] = set()
        self._pulse = Pulse()
        self._tcp = TcpGateway(self.services, self._make_session)
        self._udp = UdpGateway(self.services, self._make_session)
        self._http: Server | None = None
        self.tcp_port = 0
        self.udp_port = 0
        self.http_port = 0
        self.services.presence.contacts.listeners.append(self._pulse.fire)

    # Parts that callers use directly

    @property
    def users(self) -> Users:
        """Accounts and tokens."""
        return self.services.users

    @property
    def bus(self) -> EventBus:
        """Events, to subscribe to."""
        return self.services.bus

    @property
    def operations(self) -> Ledger:
        """Data Operations."""
        return self.services.ledger

    # Life

    async def start(self) -> None:
        """Listen on all ports and take up the sessions of the last run."""
        config = self.config
        self.tcp_port = await self._tcp.start(config.host, config.tcp_port)
        self.udp_port = await self._udp.start(config.host, config.udp_port)
        for session, stored in self._udp.restore():
            self._take_up(session, stored)
        if config.http_port is not None:
            # Imported here: a cloud without HTTP need not load a web framework.
            from hil.cloud.http.app import create_app
            from hil.cloud.http.server import serve

            self._http = await serve(create_app(self), config.host, config.http_port)
            self.http_port = self._http.port

    async def stop(self) -> None:
        """Close everything. Devices on UDP keep their sessions and resume them with the next cloud."""
        self.bus.close()
        if self._http is not None:
            await self._http.stop()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for session in tuple(self._sessions.values()):
            session.save()
            session.end("the cloud stops", forget=False)
        await self._tcp.stop()
        self._udp.stop()
        self.services.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    @property
    def url(self) -> str:
        """Where the HTTP API answers; empty when it is off."""
        return self._http.url if self._http is not None else ""

    # What sessions report

    def _make_session(self, link: Link) -> DeviceSession:
        return DeviceSession(self.services, self, link, HANDLERS)

    def _take_up(self, session: DeviceSession, stored: StoredSession) -> None:
        """A session of the last run: its device may speak at once; was it online, ask whether it still is."""
        session.adopt(self.services.registry.require(stored.device_id))
        session.channel.mid = stored.next_mid
        session.know_again(self.bus.mids_seen(stored.name, recently()))
        self._sessions[stored.device_id] = session
        session.save()
        if stored.online:
            session.channel.request(ping(session.channel.next_mid()))

    def arrived(self, session: DeviceSession, kind: ContactKind) -> None:
        """A device is online, perhaps in a new session."""
        device = session.device
        assert device is not None, "a session arrives with its Hello or as a resumed one"
        previous = self._sessions.get(device.id)
        self._sessions[device.id] = session
        if previous is not None and previous is not session:
            previous.end("the device has a new session", forget=True)
        was_offline = self.services.presence.arrived(device.id, kind, session.link.host)
        session.log(f"online: {kind} from {session.link.host}")
        if was_offline or kind is not ContactKind.MOVED:
            self._publish_status(device, "online")

    def left(self, session: DeviceSession, why: str) -> None:
        """A session's device is offline, unless it has a newer session."""
        device = session.device
        if device is None or self._sessions.get(device.id) is not session:
            return
        if session.channel.reliable:
            del self._sessions[device.id]
        if self.services.presence.left(device.id, why):
            session.log(f"offline: {why}")
            self._publish_status(device, "offline")

    def distribute(self, event: CloudEvent) -> None:
        """Hand a committed event to streams and to the subscribed online devices of its owner."""
        self.bus.announce(event)
        if event.owner is None:
            return
        for device in self.services.registry.of_owner(event.owner):
            session = self._sessions.get(device.id)
            if session is not None and session.online and outbound.wants_event(device, event):
                outbound.deliver(session, event)

    def _publish_status(self, device: Device, status: str) -> None:
        event = self.bus.record(STATUS_EVENT, status.encode(), device_id=device.id, owner=device.owner)
        self.distribute(event)

    # Devices

    def register(
        self,
        device_id: str,
        *,
        platform_id: int,
        public_key: bytes | None = None,
        owner: str | None = None,
        name: str | None = None,
    ) -> DeviceView:
        """Make a device and its public key (SPKI DER) known; it belongs to the configured owner unless told."""
        owner = owner or self.config.owner
        self.users.ensure(owner)
        device = self.services.registry.register(
            device_id, platform_id=platform_id, public_key=public_key, owner=owner, name=name
        )
        self._drop_if_key_changed(device)
        return self._view(device)

    def device(self, device: DeviceRef) -> DeviceView:
        """What is known of a device. Raises ``NotFound``."""
        return self._view(self.services.registry.require(device_id_of(device)))

    def devices(self) -> list[DeviceView]:
        """Every device of this cloud, in the order of registration."""
        return [self._view(device) for device in self.services.registry.all()]

    def devices_of(self, user: User) -> list[DeviceView]:
        """A user's devices, the most recently connected first."""
        views = [self._view(device) for device in self.services.registry.of_owner(user.name)]
        return sorted(views, key=lambda view: view.last_handshake or 0.0, reverse=True)

    def find(self, user: User, id_or_name: str) -> DeviceView:
        """One of a user's devices. Raises ``NotFound``; ``Refused`` for somebody else's."""
        return self._view(self.services.registry.find(user.name, id_or_name))

    def claim(self, user: User, device_id: str) -> DeviceView:
        """Give an unowned device to a user. Raises ``Refused`` when it is somebody else's."""
        return self._view(self.services.registry.claim(user.name, device_id_of(device_id)))

    def unclaim(self, user: User, device_id: str) -> None:
        """Take a device from its owner."""
        self.services.registry.unclaim(user.name, device_id)

    def rename(self, device: DeviceRef, name: str) -> None:
        """Give a device another name."""
        self.services.registry.rename(device_id_of(device), name)

    def claim_code(self, user: User) -> str:
        """A code that makes the device which sends it belong to ``user``."""
        return self.services.registry.claim_code(user.name)

    def set_notes(self, device: DeviceRef, notes: str) -> None:
        """Replace a device's notes."""
        self.services.registry.set_notes(device_id_of(device), notes)

    def provision_key(self, user: User, device_id: str, pem_public_key: str, algorithm: str) -> None:
        """Put a device's public key, sent as PEM, on file. ``algorithm``: ``rsa`` or ``ecc``.

        A device not known yet is registered without an owner. Raises ``Refused`` for somebody else's device.
        """
        spki = pem_to_spki(pem_public_key)
        transport = transport_of_key(spki)
        expected = ("rsa",) if transport is Transport.TCP else ("ecc", "ec")
        if algorithm.lower() not in expected:
            raise Refused("the key is of another kind than announced", expected=algorithm, found=expected[0])
        device_id = device_id_of(device_id)
        device = self.services.registry.get(device_id)
        if device is None:
            platform_id = _LIKELY_PLATFORM[transport]
            self.services.registry.register(device_id, platform_id=platform_id, owner=None)
        elif device.owner not in (None, user.name):
            raise NotOwner
        self.services.registry.set_key(device_id, spki)
        self._drop_if_key_changed(self.services.registry.require(device_id))

    def _view(self, device: Device) -> DeviceView:
        return view_of(device, online=self.services.presence.online(device.id))

    def _reach(self, device: DeviceRef) -> DeviceSession:
        """The session of an online device. Raises ``DeviceOffline``, ``NotFound``."""
        device_id = device_id_of(device)
        known = self.services.registry.require(device_id)
        session = self._sessions.get(device_id)
        if session is None or not session.online:
            raise DeviceOffline(
                f"device {known.name} ({device_id}) is not connected",
                hint="see its device log for why it went, or why it was turned away",
            )
        return session

    # Verbs

    async def call(
        self, device: DeviceRef, function: str, argument: bytes | str = b"", timeout: float | None = None
    ) -> int:
        """Call a function. Raises ``DeviceOffline`` at once, ``DeviceTimeout``, ``NotFound``, ``Refused``."""
        data = argument.encode() if isinstance(argument, str) else argument
        session = self._reach(device)
        return await outbound.call(session, function, data, self._patience(timeout))

    async def read(self, device: DeviceRef, variable: str, timeout: float | None = None) -> Value:
        """Read a variable. Raises as :meth:`call`."""
        return await outbound.read(self._reach(device), variable, self._patience(timeout))

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
        raw = data.encode() if isinstance(data, str) else data
        checked_event(name, raw)
        event = self.bus.record(
            name, raw, device_id=None, owner=owner or self.config.owner, private=private, ttl=ttl
        )
        self.distribute(event)
        return event

    async def send_event(self, device: DeviceRef, name: str, data: bytes | str = b"") -> None:
        """Send an event to one device alone, subscribed or not: how the cloud itself talks to a device."""
        raw = data.encode() if isinstance(data, str) else data
        checked_event(name, raw)
        outbound.send_event(self._reach(device), name, raw)

    async def signal(self, device: DeviceRef, on: bool) -> None:
        """Start or stop the rainbow on a device's LED."""
        await outbound.set_signal(self._reach(device), on, self._patience(None))

    async def ping(self, device: DeviceRef, timeout: float | None = None) -> bool:
        """Whether a device answers; false at once for an offline one."""
        try:
            session = self._reach(device)
        except DeviceOffline:
            return False
        return await outbound.ping_device(session, self._patience(timeout))

    async def describe(self, device: DeviceRef) -> DeviceView:
        """Ask a device to describe itself afresh."""
        await describe(self._reach(device), self.config.timing.describe)
        return self.device(device)

    async def disconnect(self, device: DeviceRef) -> None:
        """Break a device's session for good: it must make a full handshake to come back.

        An offline device loses the session that it could have resumed.
        """
        known = self.services.registry.require(device_id_of(device))
        self._drop(known, "disconnected by the cloud")

    def _drop(self, device: Device, why: str) -> None:
        session = self._sessions.get(device.id)
        if session is not None:
            session.close(why, forget=True, notify=True)
            self._sessions.pop(device.id, None)

    def _drop_if_key_changed(self, device: Device) -> None:
        """A key that is no longer on file opens nothing any more, a session made with it neither."""
        session = self._sessions.get(device.id)
        if session is not None and session.link.public_key != device.keys.get(session.link.transport):
            self._drop(device, "its key is no longer the one on file")

    def _patience(self, timeout: float | None) -> float:
        return self.config.call_timeout if timeout is None else timeout

    # Updates

    async def start_flash(self, device: DeviceRef, binary: bytes) -> None:
        """Start an update in the background; ``spark/flash/status`` events tell how it goes.

        Raises ``DeviceOffline``, or ``Refused`` for a file the device cannot take.
        """
        update = Update(self._reach(device), binary)
        self._spawn(asyncio.create_task(update.run()))

    async def flash(
        self, device: DeviceRef, binary: bytes, within: float = 60.0, *, unchecked: bool = False
    ) -> OtaReport:
        """Update a device and wait until it is back with the new firmware, or has failed. ``within`` seconds.

        With ``unchecked`` the file goes to the device whatever it is: the device is the judge. Raises
        ``DeviceOffline``, ``Refused`` when it cannot even begin.
        """
        session = self._reach(device)
        update = Update(session, binary, unchecked=unchecked)
        known = self.services.registry.require(device_id_of(device))
        contacts, described = self.services.presence.contacts, known.times_described
        position = len(contacts)
        had_it = update.module is not None and runs_module(known, update.module) is True
        began = asyncio.get_running_loop().time()
        transfer = self._spawn(asyncio.create_task(update.run()))
        await asyncio.wait([transfer], timeout=within)
        if not transfer.done():
            transfer.cancel()
            return OtaReport(False, f"not transferred within {within:g} s", within, len(binary))
        report = transfer.result()
        if not report.ok:
            return report

        def is_back() -> bool:
            here = [contact for contact in contacts.since(position) if _arrives(contact, known.id)]
            greeted = any(contact.kind is ContactKind.HELLO for contact in here)
            # With the firmware it had before, nothing has changed for the device: it may resume without a Hello.
            after = contacts.since(update.contacts_before_end)
            resumed = had_it and any(_arrives(contact, known.id) for contact in after)
            return resumed or (greeted and known.times_described > described)

        took = asyncio.get_running_loop().time() - began
        back = await self._pulse.until(is_back, within - took)
        reason = f"the device did not come back within {within:g} s"
        if back:
            reason = "the device came back without the new firmware"
            if update.module is None or runs_module(known, update.module) is not False:
                reason = ""
        duration = asyncio.get_running_loop().time() - began
        return replace(report, ok=not reason, reason=reason, duration=duration)

    def _spawn(self, task: asyncio.Task[OtaReport]) -> asyncio.Task[OtaReport]:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def until(self, condition: Callable[[], bool], within: float) -> bool:
        """Whether ``condition`` holds within ``within`` seconds; asked after every contact and Describe."""
        return await self._pulse.until(condition, within)

    def key_for(self, transport: Transport) -> bytes:
        """The public key (SPKI DER) that boards of ``transport`` must have as their server key."""
        return self.services.keys.public_for(transport)


def _arrives(contact: Contact, device_id: str) -> bool:
    return contact.device_id == device_id and contact.is_arrival
