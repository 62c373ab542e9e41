"""Who is online, and waiting until somebody is."""

from __future__ import annotations

import time

from hil.cloud.state.names import DeviceRef, device_id_of
from hil.cloud.state.presence import Contact
from hil.cloud.sync.logs import Mark
from hil.cloud.sync.running import Running
from hil.observe import verb


class Presences(Running):
    """The cloud's belief about its devices."""

    def online(self, device: DeviceRef) -> bool:
        """Whether the cloud believes that the device can be reached."""
        return self.core.services.presence.online(device_id_of(device))

    @verb
    def wait_online(self, device: DeviceRef, within: float = 30.0, since: Mark | None = None) -> None:
        """Wait until a device is online; with ``since``, until it has come online anew after that moment.

        A board knows when it last left (``left_at``): a session from before that never counts. Raises
        ``AssertionError`` with the end of the device's log.
        """
        device_id = device_id_of(device)
        contacts = self.core.services.presence.contacts
        position = max(self._position(since), self._position(_left_at(device)))
        began = time.monotonic()
        if position:
            arrival = contacts.wait(
                lambda contact: contact.device_id == device_id and contact.is_arrival,
                position=position,
                within=within,
            )
            if arrival is None:
                raise self._still(device_id, self._away(device_id), within)
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
        position = None if since is None else since.contacts
        known = self.core.services.presence.contacts.since(position)
        return [contact for contact in known if contact.device_id == device_id]

    def _position(self, mark: Mark | None) -> int:
        """Where in the contacts ``mark`` is; one of an earlier life of this cloud is at the beginning."""
        contacts = self.core.services.presence.contacts
        return mark.contacts if mark is not None and mark.contacts <= len(contacts) else 0

    def _away(self, device_id: str) -> str:
        return "in the session that it had before" if self.online(device_id) else "offline"

    def _still(self, device_id: str, state: str, within: float) -> AssertionError:
        """Coming and going is what tests are about: that it fails to happen is their failure, not the cloud's."""
        lines = self.device_log(device_id)[-10:] or ["nothing"]
        hint = "is it registered with the key it has, and does it have this cloud's address and key?"
        text = f"device {device_id} is still {state} after {within:g} s; its device log ends:"
        return AssertionError("\n".join([text, *(f"  {line}" for line in lines), f"what to do: {hint}"]))


def _left_at(device: DeviceRef) -> Mark | None:
    """When a board was last told to restart or to leave; ``None`` for an id, a view, or one that never was."""
    left_at = getattr(device, "left_at", None)
    return left_at if isinstance(left_at, Mark) else None
