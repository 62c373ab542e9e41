"""A device's DTLS session as a link: seals what goes out and keeps its record numbers safe in the store."""

from __future__ import annotations

from typing import Protocol

from hil.cloud.session.session import DeviceSession
from hil.cloud.state.sessionstore import RESERVE, SessionStore
from hil.device.platforms import Transport
from hil.wire.dtls import ServerConnection, Session

Address = tuple[str, int]


class Gateway(Protocol):
    """What a link needs from the gateway that owns the socket."""

    def send(self, data: bytes, address: Address) -> None:
        """Put a datagram on the wire."""

    def name_device(self, link: UdpLink, device_id: str) -> None:
        """Make the link reachable by its device's id."""

    def release(self, link: UdpLink) -> None:
        """Forget the link."""


class UdpLink:
    """One DTLS session. ``connection`` is its handshake, kept until the device has proved to be through it."""

    transport = Transport.DTLS

    def __init__(
        self, gateway: Gateway, store: SessionStore, session: Session, address: Address, name: str
    ) -> None:
        self._gateway = gateway
        self._store = store
        self.session = session
        self.address = address
        self.name = name
        self.device_id: str | None = None
        self.connection: ServerConnection | None = None
        self.device_session: DeviceSession | None = None
        self._stored_sequence: int | None = None

    @property
    def host(self) -> str:
        return self.address[0]

    @property
    def public_key(self) -> bytes:
        return self.session.peer_public_key

    def key_log(self) -> str:
        return self.session.key_log()

    def send(self, data: bytes) -> None:
        """Seal and send one message; before the stored reserve of record numbers ends, store anew."""
        stored = self._stored_sequence
        if stored is not None and self.session.write_sequence - stored >= RESERVE and self.device_session:
            self.device_session.save()
        self._gateway.send(self.session.seal(data), self.address)

    def save(self, device_id: str, *, online: bool, next_mid: int) -> None:
        """Store the session as it is now."""
        if self.device_id != device_id:
            self.device_id = device_id
            self._gateway.name_device(self, device_id)
        self._store.save(device_id, self.name, self.session, self.address, next_mid=next_mid, online=online)
        self._stored_sequence = self.session.write_sequence

    def close(self, *, forget: bool, notify: bool) -> None:
        """Let go of the session; with ``notify`` the device erases it and makes a full handshake next time."""
        if notify:
            self._gateway.send(self.session.close_notify(), self.address)
        if forget:
            self._gateway.release(self)
            if self.device_id is not None:
                self._store.delete(self.device_id, self.name)
