"""How a virtual board carries CoAP: the TCP link of Photon, P1 and Core, the DTLS link of all others.

Protocol fact sheet 1 and 2. A link lives on the asyncio loop of its board's cloud client; sockets are made inside
the board's own network namespace.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from hil.device.keys import load_private, load_public, rsa_key_suits_board
from hil.errors import Signal, WireError
from hil.virtual.hardware.facts import DeviceFacts
from hil.virtual.hardware.profile import Profile
from hil.wire import dtls
from hil.wire.tcp.connection import TcpClientSession

TCP_TIMEOUT = 20.0  # each handshake step on the device, protocol fact sheet 1.2
APPLICATION_DATA = 23
ALERT = 21


class BoardNetwork(Protocol):
    """The board's radio: a network namespace of its own."""

    def socket(self, family: int = ..., type: int = ...) -> socket.socket: ...

    def resolve(self, host: str) -> str | None:
        """The IPv4 address of a host name or literal address; does not block."""


class LinkDown(Signal):
    """The connection ended. ``erase`` tells whether the saved DTLS session goes with it (fact sheet 2.5, 2.7)."""

    def __init__(self, reason: str, *, erase: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.erase = erase


class Link(Protocol):
    """A secured channel that carries one CoAP message at a time."""

    async def open(self) -> bool:
        """Connect; true when a saved session was taken up again. Raises LinkDown."""

    def send(self, plaintext: bytes) -> None:
        """Send one CoAP message. Raises LinkDown."""

    async def receive(self) -> bytes:
        """The next CoAP message. Raises LinkDown."""

    def close(self) -> None:
        """Close the socket."""

    def saved_session(self) -> bytes | None:
        """What a later resume needs."""


def _server(facts: DeviceFacts, network: BoardNetwork) -> tuple[str, int | None]:
    address = facts.server_address()
    if address is None:
        raise LinkDown("no server address in the configuration flash")
    major = int(facts.device_os.split(".")[0])
    host = address.host_for(facts.device_id.hex(), major)
    resolved = network.resolve(host)
    if resolved is None:
        raise LinkDown(f"cannot resolve {host}")
    return resolved, address.port


def _make_socket(network: BoardNetwork, kind: socket.SocketKind) -> socket.socket:
    try:
        made = network.socket(socket.AF_INET, kind)
    except OSError as error:
        raise LinkDown(f"no socket: {error.strerror}") from error
    made.setblocking(False)
    return made


class TcpLink:
    """TCP port 5683 (or the stored one), RSA handshake, AES records."""

    def __init__(self, facts: DeviceFacts, network: BoardNetwork) -> None:
        self._facts = facts
        self._network = network
        self._socket: socket.socket | None = None
        self._session: TcpClientSession | None = None
        self._ready: list[bytes] = []

    @property
    def first_mid(self) -> int:
        """The message id of the Hello, from the session's salt (fact sheet 1.4)."""
        if self._session is None:
            raise LinkDown("not connected")
        return self._session.first_mid

    async def open(self) -> bool:
        device_der, server_der = self._facts.device_private_der(), self._facts.server_public_der()
        if device_der is None or server_der is None:
            raise LinkDown("no keys in the configuration flash")
        host, port = _server(self._facts, self._network)
        try:
            device_key, server_key = load_private(device_der), load_public(server_der)
        except WireError as error:
            raise LinkDown(f"bad key in the configuration flash: {error.what}") from error
        if not isinstance(device_key, rsa.RSAPrivateKey) or not isinstance(server_key, rsa.RSAPublicKey):
            raise LinkDown("the keys in the configuration flash are not RSA keys")
        if not rsa_key_suits_board(device_key):
            raise LinkDown("the board cannot read its device key: a number of it starts with a zero byte")
        self._session = TcpClientSession(device_key, self._facts.device_id, server_key)
        self._socket = _make_socket(self._network, socket.SOCK_STREAM)
        clock = self._facts.clock.on_loop()
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with clock.timeout(TCP_TIMEOUT):
                await asyncio.get_running_loop().sock_connect(self._socket, (host, port or 5683))
            while not self._session.established:
                async with clock.timeout(TCP_TIMEOUT):
                    await self._pump()
        except TimeoutError as error:
            raise LinkDown("timeout in the TCP handshake") from error
        except OSError as error:
            raise LinkDown(f"socket error: {error.strerror}") from error
        return False

    async def _pump(self) -> None:
        if self._socket is None or self._session is None:
            raise LinkDown("not connected")
        try:
            data = await asyncio.get_running_loop().sock_recv(self._socket, 4096)
        except OSError as error:
            raise LinkDown(f"receive error: {error.strerror}") from error
        if not data:
            raise LinkDown("the server closed the connection")
        try:
            self._ready += self._session.receive(data)
        except WireError as error:
            raise LinkDown(f"handshake or record refused: {error.what}") from error
        self._write(self._session.take_output())

    def _write(self, data: bytes) -> None:
        if not data:
            return
        if self._socket is None:
            raise LinkDown("not connected")
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise LinkDown(f"send error: {error.strerror}") from error

    def send(self, plaintext: bytes) -> None:
        if self._session is None:
            raise LinkDown("not connected")
        self._write(self._session.seal(plaintext))

    async def receive(self) -> bytes:
        while not self._ready:
            await self._pump()
        return self._ready.pop(0)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()

    def saved_session(self) -> bytes | None:
        return None


class DtlsLink:
    """UDP port 5684 whatever port is stored, DTLS 1.2, resumed without a handshake when a session was saved.

    ``saved`` is asked for the session to take up once there is a socket; asking counts as a restore.
    """

    def __init__(
        self,
        facts: DeviceFacts,
        network: BoardNetwork,
        profile: Profile,
        saved: Callable[[], bytes | None],
    ) -> None:
        self._facts = facts
        self._network = network
        self._clock = facts.clock.on_loop()
        self._profile = profile
        self._saved = saved
        self._socket: socket.socket | None = None
        self._session: dtls.Session | None = None
        self._moving = False
        self._ready: list[bytes] = []

    async def open(self) -> bool:
        device_der, server_der = self._facts.device_private_der(), self._facts.server_public_der()
        if device_der is None or server_der is None:
            raise LinkDown("no keys in the configuration flash")
        host, _ = _server(self._facts, self._network)
        self._socket = _make_socket(self._network, socket.SOCK_DGRAM)
        try:
            self._socket.connect((host, 5684))
        except OSError as error:
            raise LinkDown(f"socket error: {error.strerror}") from error
        self._session = self._restore(self._saved())
        if self._session is not None:
            self._moving = True
            return True
        await self._handshake(device_der, server_der)
        return False

    def _restore(self, saved: bytes | None) -> dtls.Session | None:
        """The session in ``saved``, unless it is not one that this Device OS release can go on with."""
        if saved is None:
            return None
        try:
            session = dtls.Session.from_bytes(saved)
        except WireError:
            return None
        session.device_id = self._facts.device_id
        return session if bool(session.cid) is self._profile.offers_cid else None

    async def _handshake(self, device_der: bytes, server_der: bytes) -> None:
        try:
            key, server_key = load_private(device_der), load_public(server_der)
        except WireError as error:
            raise LinkDown(f"bad key in the configuration flash: {error.what}") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(
            server_key, ec.EllipticCurvePublicKey
        ):
            raise LinkDown("the keys in the configuration flash are not EC keys")
        connection = dtls.ClientConnection(key, server_key, offer_cid=self._profile.offers_cid)
        connection.start(self._clock.monotonic())
        while connection.session is None:
            self._flush(connection)
            if connection.failed is not None:
                raise LinkDown(f"DTLS handshake failed: {connection.failed}", erase=True)
            datagram = await self._wait_datagram(connection.next_timeout())
            if datagram is None:
                connection.on_timeout(self._clock.monotonic())
            else:
                self._ready += connection.receive(datagram, self._clock.monotonic())
        self._flush(connection)
        self._session = connection.session
        self._session.device_id = self._facts.device_id

    def _flush(self, connection: dtls.ClientConnection) -> None:
        for datagram in connection.take_output():
            self._write(datagram)

    async def _wait_datagram(self, deadline: float | None) -> bytes | None:
        if self._socket is None:
            raise LinkDown("not connected")
        try:
            async with self._clock.timeout_at(deadline):
                return await asyncio.get_running_loop().sock_recv(self._socket, 4096)
        except TimeoutError:
            return None
        except OSError as error:
            raise LinkDown(f"receive error: {error.strerror}") from error

    def _write(self, datagram: bytes) -> None:
        if self._socket is None:
            raise LinkDown("not connected")
        try:
            self._socket.send(datagram)
        except BlockingIOError:
            return  # a full socket buffer loses the datagram, as a radio does
        except OSError as error:
            raise LinkDown(f"send error: {error.strerror}") from error

    def send(self, plaintext: bytes) -> None:
        if self._session is None:
            raise LinkDown("not connected")
        if not self._moving:
            self._write(self._session.seal(plaintext))
            return
        self._write(self._session.seal(plaintext, resume=self._profile.resume_form))

    async def receive(self) -> bytes:
        while not self._ready:
            datagram = await self._wait_datagram(None)
            if datagram is None or len(datagram) <= 1 or self._session is None:
                continue
            try:
                opened = self._session.open(datagram)
            except WireError:
                continue  # bad MAC, replay, foreign record: dropped in silence
            if opened.content_type == ALERT:
                raise LinkDown("close_notify or alert from the server", erase=True)
            if opened.content_type == APPLICATION_DATA:
                self._moving = False
                self._ready.append(opened.payload)
        return self._ready.pop(0)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()

    def saved_session(self) -> bytes | None:
        return self._session.to_bytes() if self._session is not None else None
