"""A cloud for one board that does what a test says, message by message, on loopback sockets."""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Callable
from functools import cache

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from hil.device import keys
from hil.wire import dtls, messages
from hil.wire.coap import message as coap
from hil.wire.coap.message import Message, Type
from hil.wire.dtls import Form
from hil.wire.messages import Kind
from hil.wire.tcp.connection import TcpServerSession

WITHIN = 10.0  # seconds after which a message that was to come counts as missing
NOW = 1_700_000_000
CID = bytes.fromhex("c1d0010203040506")
_hosts = itertools.count(1)


@cache
def server_rsa() -> rsa.RSAPrivateKey:
    return keys.generate_server_rsa()


@cache
def server_ec() -> ec.EllipticCurvePrivateKey:
    return keys.generate_server_ec()


class Script:
    """What both transports have in common: ids, and the polite answer to each message."""

    host = "127.0.0.1"
    port: int | None = None
    tcp = False

    def __init__(self) -> None:
        self._mid = itertools.count(0x1000)
        self._token = itertools.count(0x61)
        self.raw: list[bytes] = []  # plaintext of every message from the board

    def next_mid(self) -> int:
        return next(self._mid) & 0xFFFF

    def next_token(self) -> bytes:
        return bytes([next(self._token) & 0xFF])

    def receive(self, within: float = WITHIN) -> Message:
        """The board's next message. Raises ``TimeoutError`` after ``within`` seconds of silence."""
        raise AssertionError(f"no transport to wait {within} s for")

    def send(self, message: Message) -> None:
        raise AssertionError(f"no transport for {message}")

    def close(self) -> None:
        """Close the sockets."""

    def answer(self, message: Message) -> None:
        """Acknowledge as the cloud does: the time in the ACK, a Hello for a Hello on TCP."""
        kind = messages.classify(message)
        if kind is Kind.TIME:
            self.send(messages.time_reply(message, NOW))
        elif message.type is Type.CON:
            self.send(coap.empty_ack(message.mid))
        if kind is Kind.HELLO and self.tcp:
            self.send(messages.server_hello(self.next_mid()))

    def take(self, count: int) -> list[Message]:
        """The next ``count`` messages, each answered."""
        taken = []
        for _ in range(count):
            taken.append(self.receive())
            self.answer(taken[-1])
        return taken

    def until(self, wanted: Callable[[Message], bool]) -> Message:
        """Answer messages until the wanted one, which is left to the caller."""
        while not wanted(message := self.receive()):
            self.answer(message)
        return message

    def until_kind(self, kind: Kind) -> Message:
        return self.until(lambda message: messages.classify(message) is kind)

    def ping(self) -> Message:
        """Ping the board; what it says next, which is its ACK unless it had something else to say before."""
        self.send(coap.ping(self.next_mid()))
        return self.receive()

    def assert_silent(self) -> None:
        """Nothing is on its way from the board: the next thing it says is the answer to a ping."""
        answer = self.ping()
        assert (answer.type, answer.code) == (Type.ACK, 0), answer


class TcpServer(Script):
    """Port chosen by the system; ``accept`` takes the next connection of the board."""

    tcp = True

    def __init__(self) -> None:
        super().__init__()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(WITHIN)
        self.port = self._listener.getsockname()[1]
        self._connection: socket.socket | None = None
        self._ready: list[bytes] = []
        self.accepting = True

    def accept(self) -> TcpServerSession:
        """Take a connection and shake hands with it."""
        self.hang_up()
        self._connection, _ = self._listener.accept()
        self._connection.settimeout(WITHIN)
        self.session = TcpServerSession(server_rsa(), lambda _id, _key: self.accepting)
        self._connection.sendall(self.session.start())
        while not self.session.established:
            self._pump()
        return self.session

    def _pump(self) -> None:
        assert self._connection is not None
        data = self._connection.recv(4096)
        if not data:
            raise ConnectionResetError("the board closed its connection")
        self._ready += self.session.receive(data)
        assert self.session.refusal is None, f"refused: {self.session.refusal}"
        self._connection.sendall(self.session.take_output())

    def receive(self, within: float = WITHIN) -> Message:
        if self._connection is None:
            self.accept()
        assert self._connection is not None
        self._connection.settimeout(within)
        while not self._ready:
            self._pump()
        self.raw.append(self._ready.pop(0))
        return coap.decode(self.raw[-1])

    def send(self, message: Message) -> None:
        assert self._connection is not None
        self._connection.sendall(self.session.seal(coap.encode(message)))

    def hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self._ready.clear()

    def close(self) -> None:
        self.hang_up()
        self._listener.close()


class DtlsServer(Script):
    """Port 5684 on a loopback address of its own. Sessions live on here whatever becomes of the board."""

    def __init__(self) -> None:
        super().__init__()
        number = next(_hosts)
        self.host = f"127.77.{os.getpid() % 250 + 1}.{number % 250 + 1}"
        self.open()
        self.connection: dtls.ServerConnection | None = None
        self.session: dtls.Session | None = None
        self.peer: tuple[str, int] = ("", 0)
        self.handshakes = 0
        self.datagrams: list[bytes] = []  # each application datagram of the board as it came
        self._ready: list[bytes] = []

    def open(self) -> None:
        """Be there (again): until then the board's datagrams are refused."""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((self.host, 5684))
        self._socket.settimeout(WITHIN)

    def receive(self, within: float = WITHIN) -> Message:
        self._socket.settimeout(within)
        while not self._ready:
            datagram, self.peer = self._socket.recvfrom(65536)
            self._take(datagram)
        self.raw.append(self._ready.pop(0))
        return coap.decode(self.raw[-1])

    def _take(self, datagram: bytes) -> None:
        incoming = dtls.classify(datagram)
        if incoming.form is Form.HANDSHAKE:
            self._shake_hands(datagram, incoming.client_random)
        elif self.connection is not None and self.session is None:
            self._feed(datagram)
        elif self.session is not None:
            self.datagrams.append(datagram)
            self._ready.append(self.session.open(datagram).payload)

    def _shake_hands(self, datagram: bytes, client_random: bytes | None) -> None:
        known = self.connection.client_random if self.connection is not None else None
        if self.connection is None or (client_random is not None and client_random != known):
            self.connection = dtls.ServerConnection(server_ec(), cid=CID, accept_key=lambda _key: True)
            self.session = None
            self.handshakes += 1
        self._feed(datagram)

    def _feed(self, datagram: bytes) -> None:
        assert self.connection is not None
        self._ready += self.connection.receive(datagram)
        for reply in self.connection.take_output():
            self._socket.sendto(reply, self.peer)
        self.session = self.connection.session

    def send(self, message: Message) -> None:
        assert self.session is not None
        self._socket.sendto(self.session.seal(coap.encode(message)), self.peer)

    def send_raw(self, datagram: bytes) -> None:
        self._socket.sendto(datagram, self.peer)

    def wait_datagram(self) -> None:
        """Until the board has sent something, which is left where it is."""
        self._socket.recvfrom(65536, socket.MSG_PEEK)

    def serve_until(self, done: Callable[[], bool]) -> None:
        """Shake hands as often as the board likes."""
        while not done():
            datagram, self.peer = self._socket.recvfrom(65536)
            self._take(datagram)

    def discard(self) -> list[Message]:
        """What a board that is off by now had still sent; nobody answers it."""
        self._socket.setblocking(False)
        try:
            while True:
                self._take(self._socket.recvfrom(65536)[0])
        except BlockingIOError:
            left = [coap.decode(data) for data in self._ready]
        self._ready.clear()
        return left

    def close_notify(self) -> None:
        assert self.session is not None
        self.send_raw(self.session.close_notify())

    def close(self) -> None:
        self._socket.close()
