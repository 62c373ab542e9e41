"""The TCP gateway: RSA handshake, AES records, one connection per device (protocol fact sheet 1)."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from collections.abc import Callable

from hil.clock import Timer
from hil.cloud.gateways import descriptors
from hil.cloud.gateways.accepting import Acceptor, Guest, Pool
from hil.cloud.gateways.listening import listener
from hil.cloud.gateways.strangers import Strangers
from hil.cloud.session.identity import fingerprint, may_connect
from hil.cloud.session.services import Services
from hil.cloud.session.session import DeviceSession
from hil.cloud.state.happenings import TurnedAway
from hil.device.platforms import Transport
from hil.errors import WireError
from hil.wire.tcp.connection import TcpServerSession

SEND_BUFFER = 128 * 1024  # bytes
MAX_QUEUED = 256 * 1024  # bytes that a device may be behind with reading

MakeSession = Callable[["TcpLink"], DeviceSession]


class TcpGateway:
    """Listens for TCP devices. ``make_session`` gives a connection past its handshake its device session."""

    def __init__(self, services: Services, make_session: MakeSession) -> None:
        self._services = services
        self._make_session = make_session
        self._acceptor: Acceptor | None = None
        self.links: set[TcpLink] = set()
        self._strangers = Strangers(services)

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the real port."""
        limit = descriptors.shares(self._services.config).boards
        pool = Pool("board", limit, lambda line: self._services.log.add(None, line))
        sock = listener("TCP", host, port, "tcp_port")

        def link() -> TcpLink:
            return TcpLink(self._services, self._make_session, self.links, self._strangers, pool)

        self._acceptor = Acceptor(sock, link, pool)
        self._acceptor.start()
        return int(sock.getsockname()[1])

    async def stop(self) -> None:
        """Stop listening and break every connection."""
        if self._acceptor is None:
            return
        self._acceptor.close()
        for link in tuple(self.links):
            link.close(forget=True, notify=False)
        self._strangers.close()


class TcpLink(Guest):
    """One connection of a device, from the nonce on."""

    transport = Transport.TCP

    def __init__(
        self,
        services: Services,
        make_session: MakeSession,
        links: set[TcpLink],
        strangers: Strangers,
        pool: Pool,
    ) -> None:
        super().__init__()
        self._services = services
        self._strangers = strangers
        self._make_session = make_session
        self._links = links
        self._pool = pool
        self._records = TcpServerSession(services.keys.rsa, self._accept, stored_key=self._stored_key)
        self._session: DeviceSession | None = None
        self._deadline: Timer | None = None
        self._reads_nothing = False
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
        self._write(self._records.seal(data))
        if self.line is not None:
            self._watch_queue(self.line)

    def _watch_queue(self, line: asyncio.Transport) -> None:
        """A board that talks and never reads makes the cloud keep every answer: that has an end.

        Chunks of an update come faster than a slow link takes them, and the file is in memory anyway.
        """
        updater = self._session.updater if self._session is not None else None
        allowed = MAX_QUEUED + (updater.progress[1] if updater is not None else 0)
        waiting = line.get_write_buffer_size()
        if waiting > allowed and not self._reads_nothing:
            self._reads_nothing = True
            why = f"the device does not read what it is sent: {waiting} bytes wait"
            # Not at once: whoever is sending goes on with its session.
            asyncio.get_running_loop().call_soon(self._give_up, why)

    def save(self, device_id: str, *, online: bool, next_mid: int) -> None:
        """Nothing: a TCP device never resumes."""

    def close(self, *, forget: bool, notify: bool) -> None:  # noqa: ARG002
        """Break the connection. What a device has not read by now it is not waited for to read."""
        if self.line is None:
            return
        if self.line.get_write_buffer_size():
            self.line.abort()
        else:
            self.line.close()

    def _write(self, data: bytes) -> None:
        if self.line is not None and not self.line.is_closing():
            self.line.write(data)

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        if peer is None:  # gone again already
            self.abort()
            return
        self.host = str(peer[0])
        # What the system may hold for a device that does not read: it would go up to megabytes.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self._links.add(self)
        self._expect("handshake", self._services.config.timing.handshake)
        self._write(self._records.start())

    def data_received(self, data: bytes) -> None:
        self._take(data)
        # Only a board that has said who it is has a place of its own.
        self._pool.note(self, expendable=self._session is None or self._session.device is None)
        self.acknowledge()

    def acknowledge(self) -> None:
        """Let the system acknowledge what came right away, unless an answer has done so.

        A board without TCP_NODELAY holds its next message back until then, and the system likes to wait 40 ms.
        The option does not stay: it is set anew each time.
        """
        sock = self.line.get_extra_info("socket") if self.line is not None else None
        if sock is not None and hasattr(socket, "TCP_QUICKACK"):
            with contextlib.suppress(OSError):  # the board is gone
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def _take(self, data: bytes) -> None:
        try:
            messages = self._records.receive(data)
        except WireError as error:
            self._give_up(f"broken stream: {error.what}")
            return
        output = self._records.take_output()
        if output:
            self._write(output)
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
        self._pool.forget(self)
        if self._deadline is not None:
            self._deadline.cancel()
        if self._session is not None:
            why = f"connection lost: {exc}" if exc else "connection closed by the device"
            self._session.close(why, forget=True)

    def _accept(self, device_id: bytes, spki: bytes) -> bool:
        reason = may_connect(self._services, device_id.hex(), spki, Transport.TCP)
        if reason is not None:
            key = fingerprint(spki)
            self._strangers.note(
                "devices turned away",
                f"{device_id.hex()} with {key}",
                f"{self.host} turned away: {reason} (it shows {key})",
                device_id=device_id.hex(),
                turned_away=TurnedAway(self.host, reason, key),
            )
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
        line = f"{self.host}: {why}"
        if self._session is not None and self._session.device is not None:
            self._services.log.add(self.device_id, line)
        else:
            self._strangers.note(
                "connections that failed", self.device_id or self.host, line, device_id=self.device_id
            )
        if self._session is not None:
            self._session.close(why, forget=True)
        self.close(forget=True, notify=False)
