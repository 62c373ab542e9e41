"""The devices of a cloud as its callers see them: views, owners, names, keys."""

from __future__ import annotations

from collections.abc import Sequence

from hil.cloud.core.sessions import Sessions
from hil.cloud.session.services import Services
from hil.cloud.state.devices import Device, DeviceView, view_of
from hil.cloud.state.names import DeviceRef, device_id_of
from hil.cloud.state.newcomers import LIKELY_PLATFORM, Newcomer, introduce
from hil.cloud.state.registry import pem_to_spki, transport_of_key
from hil.cloud.state.users import User
from hil.device.platforms import Transport
from hil.errors import NotOwner, Refused


class Devices:
    """Everything that is known of devices, and may be changed about them, without talking to one."""

    def __init__(self, services: Services, sessions: Sessions) -> None:
        self._services = services
        self._registry = services.registry
        self._sessions = sessions

    def get(self, device: DeviceRef) -> DeviceView:
        """What is known of a device. Raises ``NotFound``."""
        return self._view(self._registry.require(device_id_of(device)))

    def all(self) -> list[DeviceView]:
        """Every device of this cloud, in the order of registration."""
        return [self._view(device) for device in self._registry.all()]

    def of(self, user: User) -> list[DeviceView]:
        """A user's devices, the most recently connected first."""
        views = [self._view(device) for device in self._registry.of_owner(user.name)]
        return sorted(views, key=lambda view: view.last_handshake or 0.0, reverse=True)

    def find(self, user: User, id_or_name: str) -> DeviceView:
        """One of a user's devices. Raises ``NotFound``; ``Refused`` for somebody else's."""
        return self._view(self._registry.find(user.name, id_or_name))

    def register(
        self,
        device_id: str,
        *,
        platform_id: int,
        public_key: bytes | None = None,
        owner: str | None = None,
        name: str | None = None,
    ) -> DeviceView:
        """Make a device and its public key (SPKI DER) known; it belongs to the configured owner unless told.

        ``name`` moves here from a device of the same owner that had it: another board in the same slot.
        """
        owner = owner or self._services.config.owner
        self._services.users.ensure(owner)
        self._registry.check(device_id, public_key, owner=owner)
        with self._services.store.transaction():
            if name is not None:
                self._move_name(name, device_id_of(device_id), owner)
            device = self._registry.register(
                device_id, platform_id=platform_id, public_key=public_key, owner=owner, name=name
            )
        self._sessions.drop_if_key_changed(device)
        return self._view(device)

    def _move_name(self, name: str, device_id: str, owner: str) -> None:
        before = self._registry.release_name(owner, name, device_id)
        if before is not None:
            self._services.log.add(before.id, f"{device_id} is called {name} now, and this one {before.name}")

    def introduce(self, newcomers: Sequence[Newcomer], owner: str) -> None:
        """Make many devices known at once, for ``owner``: all, or none of them. Raises ``Refused``, ``UsageError``."""
        self._services.users.ensure(owner)
        introduce(self._services.store, self._registry, newcomers, owner)
        for newcomer in newcomers:
            self._sessions.drop_if_key_changed(self._registry.require(newcomer.device_id))

    def provision_key(self, user: User, device_id: str, pem_public_key: str, algorithm: str) -> None:
        """Put a device's public key, sent as PEM, on file. ``algorithm``: ``rsa`` or ``ecc``.

        A device not known yet is registered without an owner. Raises ``Refused`` for somebody else's device, and
        for one without an owner that has another key on file: who knows its id has not shown that it is his.
        """
        spki = pem_to_spki(pem_public_key)
        transport = transport_of_key(spki)
        expected = ("rsa",) if transport is Transport.TCP else ("ecc", "ec")
        if algorithm.lower() not in expected:
            raise Refused("the key is of another kind than announced", expected=algorithm, found=expected[0])
        device_id = device_id_of(device_id)
        device = self._registry.get(device_id)
        if device is None:
            self._registry.register(device_id, platform_id=LIKELY_PLATFORM[transport], owner=None)
        elif device.owner not in (None, user.name):
            raise NotOwner
        elif device.owner is None and device.keys.get(transport, spki) != spki:
            raise Refused("the device has another key on file and no owner", hint="claim it first")
        self._registry.set_key(device_id, spki)
        self._sessions.drop_if_key_changed(self._registry.require(device_id))

    def claim(self, user: User, device_id: str) -> DeviceView:
        """Give an unowned device to a user. Raises ``Refused`` when it is somebody else's."""
        return self._view(self._registry.claim(user.name, device_id_of(device_id)))

    def unclaim(self, user: User, device_id: str) -> None:
        """Take a device from its owner."""
        self._registry.unclaim(user.name, device_id)

    def claim_code(self, user: User) -> str:
        """A code that makes the device which sends it belong to ``user``."""
        return self._registry.claim_code(user.name)

    def rename(self, device: DeviceRef, name: str) -> None:
        """Give a device another name."""
        self._registry.rename(device_id_of(device), name)

    def set_notes(self, device: DeviceRef, notes: str) -> None:
        """Replace a device's notes."""
        self._registry.set_notes(device_id_of(device), notes)

    def set_keep_alive(self, device: DeviceRef, seconds: float | None) -> None:
        """Say after how many seconds of silence a device pings; ``None``: as its platform does.

        For an application that calls ``Particle.keepAlive()``. Twice that means offline. Raises ``Refused``.
        """
        device_id = device_id_of(device)
        self._registry.set_keep_alive(device_id, seconds)
        session = self._sessions.of(device_id)
        if session is not None and session.online:
            session.silence.watch()

    def _view(self, device: Device) -> DeviceView:
        return view_of(device, online=self._services.presence.online(device.id))
