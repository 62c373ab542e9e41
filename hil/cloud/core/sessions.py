"""The sessions of a cloud by device: who is here, who has gone, and who gets which event."""

from __future__ import annotations

from contextlib import suppress

from hil.cloud.session import outbound
from hil.cloud.session.describing import ask_for_describe
from hil.cloud.session.inbound import HANDLERS
from hil.cloud.session.link import Link
from hil.cloud.session.services import Services
from hil.cloud.session.session import DeviceSession
from hil.cloud.state.devices import Device
from hil.cloud.state.events import CloudEvent
from hil.cloud.state.happenings import Joined, Left
from hil.cloud.state.names import DeviceRef, device_id_of
from hil.cloud.state.presence import ContactKind
from hil.cloud.state.sessionstore import StoredSession
from hil.cloud.state.trouble import StateFailed
from hil.errors import DeviceOffline
from hil.wire.coap.reliability import DUPLICATE_WINDOW

STATUS_EVENT = "spark/status"


class Sessions:
    """At most one session per device; the ``Hub`` of them all."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._by_device: dict[str, DeviceSession] = {}

    def of(self, device_id: str) -> DeviceSession | None:
        """The session of a device, which may be offline and able to resume."""
        return self._by_device.get(device_id)

    def reach(self, device: DeviceRef) -> DeviceSession:
        """The session of an online device. Raises ``DeviceOffline``, ``NotFound``."""
        device_id = device_id_of(device)
        known = self._services.registry.require(device_id)
        session = self._by_device.get(device_id)
        if session is None or not session.online:
            raise DeviceOffline(
                f"device {known.name} ({device_id}) is offline",
                hint="see its device log for why it went, or why it was turned away",
            )
        return session

    # Coming and going

    def make(self, link: Link) -> DeviceSession:
        """The session of a new connection; whose it is, its Hello will tell."""
        return DeviceSession(self._services, self, link, HANDLERS)

    def take_up(self, session: DeviceSession, stored: StoredSession) -> None:
        """A session of the last run: its device may speak at once; was it online, ask whether it still is."""
        session.adopt(self._services.registry.require(stored.device_id))
        session.channel.mid = stored.next_mid
        # Nothing from before this is repeated by a device any more.
        recently = self._services.clock.time() - DUPLICATE_WINDOW
        session.know_again(self._services.bus.mids_seen(stored.name, recently))
        self._by_device[stored.device_id] = session
        session.save()
        if stored.online:
            session.ask_whether_there()

    def arrived(self, session: DeviceSession, kind: ContactKind) -> None:
        """A device is online, perhaps in a new session."""
        device = session.device
        assert device is not None, "a session arrives with its Hello or as a resumed one"
        previous = self._by_device.get(device.id)
        self._by_device[device.id] = session
        if previous is not None and previous is not session:
            previous.end("the device has a new session", forget=True)
        was_offline = self._services.presence.arrived(device.id, kind, session.link.host)
        session.log(f"online: {kind} from {session.link.host}", told=True)
        session.tell(Joined(kind.value, session.link.host))
        if was_offline or kind is not ContactKind.MOVED:
            self._publish_status(device, "online")
        if device.describe_anew and kind is not ContactKind.HELLO:
            ask_for_describe(session)

    def left(self, session: DeviceSession, why: str) -> None:
        """A session's device is offline, unless it has a newer session."""
        device = session.device
        if device is None or self._by_device.get(device.id) is not session:
            return
        if session.channel.reliable:
            del self._by_device[device.id]
        if self._services.presence.left(device.id, why):
            session.log(f"offline: {why}", told=True)
            session.tell(Left(why))
            self._publish_status(device, "offline")

    def drop(self, device: Device, why: str) -> None:
        """Break a device's session for good, and tell it so."""
        session = self._by_device.get(device.id)
        if session is not None:
            session.close(why, forget=True, notify=True)
            self._by_device.pop(device.id, None)

    def abandon(self, device_id: str) -> None:
        """Send nothing again that a device has not acknowledged; its session stays."""
        session = self._by_device.get(device_id)
        if session is not None:
            session.channel.abandon(DeviceOffline("what the device has not acknowledged is abandoned"))

    def drop_if_key_changed(self, device: Device) -> None:
        """A key that is no longer on file opens nothing any more, a session made with it neither."""
        session = self._by_device.get(device.id)
        if session is not None and session.link.public_key != device.keys.get(session.link.transport):
            self.drop(device, "its key is no longer the one on file")

    def end(self, why: str) -> None:
        """The cloud stops. Devices on UDP keep their sessions and resume them with the next cloud."""
        for session in tuple(self._by_device.values()):
            with suppress(StateFailed):
                session.save()
            session.end(why, forget=False)

    # Events

    def distribute(self, event: CloudEvent) -> None:
        """Hand a committed event to streams and to the subscribed online devices of its owner."""
        self._services.bus.announce(event)
        if event.owner is None:
            return
        for device in self._services.registry.of_owner(event.owner):
            session = self._by_device.get(device.id)
            if session is not None and session.online and outbound.wants_event(device, event):
                # What cannot be counted is not delivered; the store says why.
                with suppress(StateFailed):
                    outbound.deliver(session, event)

    def _publish_status(self, device: Device, status: str) -> None:
        with suppress(StateFailed):
            event = self._services.bus.record(
                STATUS_EVENT, status.encode(), device_id=device.id, owner=device.owner
            )
            self.distribute(event)
