"""A device's DTLS session as a link: seals what goes out and keeps its record numbers safe in the store."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Protocol

from hil.clock import Timer
from hil.cloud.gateways.datagrams import Address
from hil.cloud.session.session import DeviceSession
from hil.cloud.state.sessionstore import RESERVE, SessionStore
from hil.cloud.state.trouble import StateFailed
from hil.device.platforms import Transport
from hil.wire.dtls import ServerConnection, Session


class Gateway(Protocol):
    """What a link needs from the gateway that owns the socket."""

    def send(self, data: bytes, address: Address) -> None:
        """Put a datagram on the wire."""

    def name_device(self, link: UdpLink, device_id: str) -> None:
        """Make the link reachable by its device's id."""

    def release(self, link: UdpLink) -> None:
        """Forget the link."""


class UdpLink:
    """One DTLS session.

    ``connection`` is its handshake, kept until the device has proved to be through it; ``deadline`` the wait for
    its Hello.
    """

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
        self.deadline: Timer | None = None
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
            try:
                self.device_session.save()
            except StateFailed:
                # Sent all the same, its record number might be used again after a restart (RFC 6655 section 3).
                return
        self._gateway.send(self.session.seal(data), self.address)

    def save(self, device_id: str, *, online: bool, next_mid: int) -> None:
        """Store the session as it is now."""
        if self.device_id != device_id:
            self.device_id = device_id
            self._gateway.name_device(self, device_id)
        self._store.save(device_id, self.name, self.session, self.address, next_mid=next_mid, online=online)
        self._store.after_commit(partial(self._is_stored, self.session.write_sequence))

    def _is_stored(self, sequence: int) -> None:
        self._stored_sequence = sequence

    def settle(self) -> None:
        """The Hello is there, or nobody waits for it any more."""
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None

    def close(self, *, forget: bool, notify: bool) -> None:
        """Let go of the session; with ``notify`` the device erases it and makes a full handshake next time."""
        self.settle()
        if notify:
            self._gateway.send(self.session.close_notify(), self.address)
        if forget:
            self._gateway.release(self)
            if self.device_id is not None:
                with suppress(StateFailed):
                    self._store.delete(self.device_id, self.name)
