"""The TCP gateway: RSA handshake, AES records, one connection per device (protocol fact sheet 1)."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import cast

from hil.clock import Timer
from hil.cloud.gateways.listening import listener
from hil.cloud.session.identity import fingerprint, may_connect
from hil.cloud.session.services import Services
from hil.cloud.session.session import DeviceSession
from hil.cloud.state.happenings import TurnedAway
from hil.device.platforms import Transport
from hil.errors import WireError
from hil.wire.tcp.connection import TcpServerSession

MakeSession = Callable[["TcpLink"], DeviceSession]


class TcpGateway:
    """Listens for TCP devices. ``make_session`` gives a connection past its handshake its device session."""

    def __init__(self, services: Services, make_session: MakeSession) -> None:
        self._services = services
        self._make_session = make_session
        self._server: asyncio.Server | None = None
        self.links: set[TcpLink] = set()

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the real port."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: TcpLink(self._services, self._make_session, self.links),
            sock=listener("TCP", host, port, "tcp_port"),
            backlog=1024,
        )
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop listening and break every connection."""
        if self._server is None:
            return
        self._server.close()
        for link in tuple(self.links):
            link.close(forget=True, notify=False)
        await self._server.wait_closed()


class TcpLink(asyncio.Protocol):
    """One connection of a device, from the nonce on."""

    transport = Transport.TCP

    def __init__(self, services: Services, make_session: MakeSession, links: set[TcpLink]) -> None:
        self._services = services
        self._make_session = make_session
        self._links = links
        self._records = TcpServerSession(services.keys.rsa, self._accept, stored_key=self._stored_key)
        self._socket: asyncio.Transport | None = None
        self._session: DeviceSession | None = None
        self._deadline: Timer | None = None
        self.host = ""
        self.name = secrets.token_hex(8)

    @property
    def device_id(self) -> str | None:
        return self._records.device_id.hex() if self._records.device_id else None

    @property
    def public_key(self) -> bytes:
        return self._records.device_public_key or b""

    def key_log(self) -> str:
        return self._records.key_log()

    def send(self, data: bytes) -> None:
        """Send one message in a single write: a board loses a length byte that comes alone."""
        if self._socket is not None and not self._socket.is_closing():
            self._socket.write(self._records.seal(data))

    def save(self, device_id: str, *, online: bool, next_mid: int) -> None:
        """Nothing: a TCP device never resumes."""

    def close(self, *, forget: bool, notify: bool) -> None:  # noqa: ARG002
        """Break the connection."""
        if self._socket is not None:
            self._socket.close()

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._socket = cast("asyncio.Transport", transport)
        self.host = str(transport.get_extra_info("peername")[0])
        self._links.add(self)
        self._expect("handshake", self._services.config.timing.handshake)
        self._socket.write(self._records.start())

    def data_received(self, data: bytes) -> None:
        try:
            messages = self._records.receive(data)
        except WireError as error:
            self._give_up(f"broken stream: {error.what}")
            return
        output = self._records.take_output()
        if output and self._socket is not None:
            self._socket.write(output)
        if self._records.refusal is not None:
            self._give_up(f"turned away: {self._records.refusal}")
            return
        if self._session is None and self._records.established:
            self._expect("Hello", self._services.config.timing.first_message)
            self._session = self._make_session(self)
        for message in messages:
            self._receive(message)

    def _receive(self, message: bytes) -> None:
        if self._session is None or self._session.closed:
            return
        self._session.receive(message)
        if self._session.device is not None and self._deadline is not None:
            self._deadline.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        self._links.discard(self)
        if self._deadline is not None:
            self._deadline.cancel()
        if self._session is not None:
            why = f"connection lost: {exc}" if exc else "connection closed by the device"
            self._session.close(why, forget=True)

    def _accept(self, device_id: bytes, spki: bytes) -> bool:
        reason = may_connect(self._services, device_id.hex(), spki, Transport.TCP)
        if reason is not None:
            said = f"{self.host} turned away: {reason} (it shows {fingerprint(spki)})"
            self._services.log.add(device_id.hex(), said, told=True)
            self._services.activity.tell(device_id.hex(), TurnedAway(self.host, reason, fingerprint(spki)))
        return reason is None

    def _stored_key(self, device_id: bytes) -> bytes | None:
        return self._services.registry.key_on_file(device_id.hex(), Transport.TCP)

    def _expect(self, what: str, within: float) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self._services.clock.call_later(
            within, self._give_up, f"no {what} within {within:g} s"
        )

    def _give_up(self, why: str) -> None:
        self._services.log.add(self.device_id, f"{self.host}: {why}")
        if self._session is not None:
            self._session.close(why, forget=True)
        if self._socket is not None:
            self._socket.close()
