"""What may be asked of a device, each verb waiting for its end."""

from __future__ import annotations

from hil.cloud.session.updates import OtaReport
from hil.cloud.state.devices import DeviceView
from hil.cloud.state.happenings import Value
from hil.cloud.state.names import DeviceRef, device_id_of
from hil.cloud.sync.running import Running
from hil.observe import verb


class Verbs(Running):
    """Functions, variables, events, updates. Errors are those of :class:`hil.cloud.core.api.Api`."""

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
    def abandon(self, device: DeviceRef) -> None:
        """Send nothing again that a device has not acknowledged; whoever waits for it gets ``DeviceOffline``."""
        self._background.call(self.core.sessions.abandon, device_id_of(device))

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
