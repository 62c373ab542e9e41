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
