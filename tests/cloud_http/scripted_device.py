"""A Photon that a test scripts: functions, variables, what was signalled and what was flashed. TCP, one thread.

It speaks through the wire room only, over a real socket on loopback (protocol fact sheet 1 and 3).
"""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric import rsa

from hil.device import keys
from hil.device.platforms import Transport, by_name
from hil.wire import messages
from hil.wire.coap.message import Code, Message, Type, decode, empty_ack, encode
from hil.wire.messages import Kind, VariableType
from hil.wire.messages.description import ApplicationDescribe, SystemDescribe
from hil.wire.messages.hello import Hello, HelloFlag
from hil.wire.ota.legacy import LegacyReceiver
from hil.wire.tcp.connection import TcpClientSession

Value = bool | int | float | str
Function = Callable[[bytes], int | None]
PHOTON = by_name("photon")
MAX_FILE = 128 * 1024


class ScriptedDevice:
    """``functions`` return a number, or ``None`` to leave the cloud waiting. ``variables``: type and value."""

    def __init__(self, device_id: str, server_key_der: bytes, address: tuple[str, int]) -> None:
        self.device_id = device_id
        self._key = _rsa(keys.generate_device_key(Transport.TCP))
        server_key = keys.load_public(server_key_der)
        assert isinstance(server_key, rsa.RSAPublicKey)
        self._server_key = server_key
        self._address = address
        self.functions: dict[str, Function] = {}
        self.variables: dict[str, tuple[VariableType, Value]] = {}
        self.signals: queue.Queue[bool] = queue.Queue()
        self.flashed: queue.Queue[bytes] = queue.Queue()
        self._socket: socket.socket | None = None
        self._session: TcpClientSession | None = None
        self._sending = threading.Lock()
        self._thread: threading.Thread | None = None
        self.nodelay = True
        self._stopping = False
        self._mid = 0
        self._updated = False
        self._receiver = self._new_receiver()

    @property
    def public_key(self) -> bytes:
        """SPKI DER, for the registry."""
        return keys.public_der(self._key)

    def start(self) -> None:
        """Connect, from a thread of its own."""
        self._thread = threading.Thread(target=self._run, name="scripted device", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Disconnect."""
        self._stopping = True
        if self._socket is not None:
            self._hang_up()
        if self._thread is not None:
            self._thread.join()

    def publish(self, name: str, data: bytes = b"") -> None:
        """Publish an event."""
        self._send(messages.event(self._next_mid(), name, data, confirmable=False))

    def _hang_up(self) -> None:
        assert self._socket is not None
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        while not self._stopping:
            with socket.create_connection(self._address) as connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, self.nodelay)
                self._socket = connection
                self._session = TcpClientSession(self._key, bytes.fromhex(self.device_id), self._server_key)
                self._receiver = self._new_receiver()
                try:
                    self._talk(connection, self._session)
                except OSError:
                    # Hung up by stop() while the cloud still sends: an error of the socket instead of its end.
                    if not self._stopping:
                        raise

    def _talk(self, connection: socket.socket, session: TcpClientSession) -> None:
        greeted = False
        while data := connection.recv(65536):
            plaintexts = session.receive(data)
            connection.sendall(session.take_output())
            if session.established and not greeted:
                greeted = True
                self._mid = session.first_mid - 1
                self._greet()
            for plaintext in plaintexts:
                self._answer(decode(plaintext))
            if self._receiver.complete is not None:
                self.flashed.put(self._receiver.complete)
                self._updated = True
                return  # a board resets now, and comes back

    def _greet(self) -> None:
        flags = HelloFlag.OTA_SUCCEEDED if self._updated else HelloFlag(0)
        hello = Hello(PHOTON.id, 0xFFFF, flags, PHOTON.id)
        self._send(hello.message(self._next_mid(), confirmable=False))

    def _answer(self, message: Message) -> None:
        if self._receiver.wants(message):
            for reply in self._receiver.receive(message, time.monotonic()):
                self._send(reply)
            return
        answers = {
            Kind.DESCRIBE: self._on_describe,
            Kind.FUNCTION: self._on_function,
            Kind.VARIABLE: self._on_variable,
            Kind.SIGNAL: self._on_signal,
        }
        kind = messages.classify(message)
        if message.type is Type.CON:
            self._send(empty_ack(message.mid))
        if kind in answers:
            answers[kind](message)

    def _on_describe(self, message: Message) -> None:
        flags = messages.parse_describe_request(message)
        if messages.DescribeFlag.APPLICATION in flags:
            kinds = {name: kind for name, (kind, _) in self.variables.items()}
            payload = ApplicationDescribe(tuple(self.functions), kinds).to_json()
        else:
            payload = SystemDescribe(PHOTON.id, ()).to_json()
        self._send(messages.describe_reply(self._next_mid(), message.token, payload, confirmable=False))

    def _on_function(self, message: Message) -> None:
        call = messages.parse_function_call(message)
        result = self.functions[call.name](call.argument)
        if result is not None:
            self._send(messages.function_result(self._next_mid(), call.token, result, confirmable=False))

    def _on_variable(self, message: Message) -> None:
        wanted = messages.parse_variable_request(message)
        value = messages.encode_variable(*self.variables[wanted.name])
        self._send(messages.variable_result(self._next_mid(), wanted.token, value, confirmable=False))

    def _on_signal(self, message: Message) -> None:
        self.signals.put(messages.parse_signal(message))
        self._send(Message(Type.NON, Code.CHANGED, self._next_mid(), message.token))

    def _new_receiver(self) -> LegacyReceiver:
        return LegacyReceiver(MAX_FILE, True, self._next_mid, lambda _file: 0)

    def _next_mid(self) -> int:
        self._mid = (self._mid + 1) & 0xFFFF
        return self._mid

    def _send(self, message: Message) -> None:
        with self._sending:
            assert self._session is not None
            assert self._socket is not None
            self._socket.sendall(self._session.seal(encode(message)))


def _rsa(key: keys.PrivateKey) -> rsa.RSAPrivateKey:
    assert isinstance(key, rsa.RSAPrivateKey)
    return key
