"""Accounts and devices: made known, and looked at."""

from __future__ import annotations

from hil.cloud.state.devices import DeviceView
from hil.cloud.state.names import DeviceRef
from hil.cloud.sync.running import Running
from hil.observe import verb


class Registration(Running):
    """Users, their tokens, and devices with their keys."""

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
            self.core.devices.register,
            device_id,
            platform_id=platform_id,
            public_key=public_key,
            owner=owner,
            name=name,
        )

    @verb
    def set_keep_alive(self, device: DeviceRef, seconds: float | None) -> None:
        """Say after how many seconds of silence a device pings: what its application gives ``Particle.keepAlive()``.

        ``None``: what its platform does. Twice that means offline. Raises ``Refused``.
        """
        self._background.call(self.core.devices.set_keep_alive, device, seconds)

    def device(self, device: DeviceRef) -> DeviceView:
        """What is known of a device. Raises ``NotFound``."""
        return self._background.call(self.core.devices.get, device)

    def devices(self) -> list[DeviceView]:
        """Every device of this cloud, in the order of registration."""
        return self._background.call(self.core.devices.all)
