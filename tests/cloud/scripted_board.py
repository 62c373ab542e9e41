"""A board that a test scripts: real sockets on loopback, the wire room's client side, bytes of the fact sheet.

It does what section 11 of the protocol fact sheet says of four boards, and misbehaves on request: ``deaf``
answers nothing, ``silent_functions`` acknowledges calls without ever answering.
"""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import threading
import time
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from hil.cloud.state.journal import Journal
from hil.device import keys, modules
from hil.device.platforms import Transport
from hil.wire import messages
from hil.wire.coap.message import Code, Message, Option, Type, decode, empty_ack, encode, ping
from hil.wire.dtls import ClientConnection, ContentType, Session
from hil.wire.messages import Kind, VariableType
from hil.wire.messages.description import ApplicationDescribe, ModuleInfo, SystemDescribe
from hil.wire.messages.hello import Hello, HelloFlag
from hil.wire.ota.common import OtaReceiver
from hil.wire.ota.legacy import LegacyReceiver
from hil.wire.ota.v3 import V3Receiver
from hil.wire.tcp.connection import TcpClientSession
from tests.cloud.kits import Kit

PATIENCE = 10.0  # seconds; nothing here takes a tenth of it unless it is broken
Value = bool | int | float | str


class ScriptedBoard:
    """One board. ``power_on`` connects (resuming when it can), ``power_off`` falls silent without a word."""

    def __init__(self, kit: Kit, device_id: str | None = None) -> None:
        self.kit = kit
        self.device_id = device_id or kit.device_id
        self.key = keys.generate_device_key(kit.platform)
        self.functions: dict[str, Callable[[bytes], int]] = {"led": lambda argument: len(argument)}
        self.variables: dict[str, tuple[VariableType, Value]] = {"temp": (VariableType.DOUBLE, 21.5)}
        self.prefixes: list[str] = ["particle", "spark"]
        self.flag_removed = HelloFlag(0)
        self.describe_block = 0
        self.deaf = False
        self.receive_buffer = 0  # bytes of the system's for what was not read yet; 0 as the system likes
        self.verdict = 0  # on a file that came over the air
        self.silent_functions: set[str] = set()
        self.user_hash = bytes(32)
        self.inbox: Journal[Message] = Journal()
        self.session: Session | None = None
        self.reboots = 0
        self._updated = False
        self._changed = False
        self._blocks: dict[int, bytes] = {}
        self._mid = 0
        self._token = 0
        self._socket: socket.socket | None = None
        self._tcp: TcpClientSession | None = None
        self._marking = False
        self._thread: threading.Thread | None = None
        self._lock = threading.RLock()
        self._receiver = self._new_receiver()
        self._server: tuple[str, int] = ("", 0)
        self._server_key: keys.PublicKey | None = None

    @property
    def public_key(self) -> bytes:
        return keys.public_der(self.key)

    @property
    def uses_tcp(self) -> bool:
        return self.kit.platform.transport is Transport.TCP

    def dial(self, host: str, tcp_port: int, udp_port: int, server_rsa: bytes, server_ec: bytes) -> None:
        """Which cloud to connect to."""
        self._server = (host, tcp_port if self.uses_tcp else udp_port)
        self._server_key = keys.load_public(server_rsa if self.uses_tcp else server_ec)

    # Power

    def power_on(self) -> None:
        """Connect and introduce itself, from a thread of its own."""
        self._tcp = None
        self._receiver = self._new_receiver()
        run = self._run_tcp if self.uses_tcp else self._run_udp
        kind = socket.SOCK_STREAM if self.uses_tcp else socket.SOCK_DGRAM
        self._socket = socket.socket(socket.AF_INET, kind)
        if self.receive_buffer:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer)
        self._thread = threading.Thread(target=run, args=(self._socket,), daemon=True)
        self._thread.start()

    def power_off(self) -> None:
        """Fall silent; a stored DTLS session stays."""
        sock, self._socket = self._socket, None
        if sock is not None:
            # A datagram socket is woken by nothing but a datagram.
            if self.uses_tcp:
                _shut(sock)
            else:
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
                    waker.sendto(b"", _own_address(sock))
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(PATIENCE)
        if sock is not None:
            sock.close()

    def wait_for_the_end(self) -> None:
        """Wait until the cloud has closed the connection, and everything before that is read (TCP)."""
        assert self._thread is not None
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the connection is still open"

    def start_anew(self, mid: int) -> None:
        """Power off and forget the session; message ids go on from ``mid`` on UDP."""
        self.power_off()
        self.session = None
        self._mid = mid

    # What a test has it do

    def next_mid(self) -> int:
        self._mid = (self._mid + 1) & 0xFFFF
        return self._mid

    def next_token(self) -> bytes:
        self._token = (self._token + 1) & 0xFF
        return bytes((self._token,))

    def publish(self, name: str, data: bytes = b"", *, acknowledged: bool = True) -> Message:
        """Publish an event, and wait for its acknowledgement where there is one."""
        message = messages.event(self.next_mid(), name, data, confirmable=not self.uses_tcp)
        self.send(message)
        if acknowledged and not self.uses_tcp:
            self.wait_ack(message.mid)
        return message

    def wait_ack(self, mid: int, position: int = 0, within: float = PATIENCE) -> Message:
        """The acknowledgement of message ``mid``."""
        found = self.inbox.wait(
            lambda one: one.type is Type.ACK and one.mid == mid, position=position, within=within
        )
        assert found is not None, f"message {mid} was not acknowledged"
        return found

    def wait_event(self, name: str, position: int = 0) -> messages.Event:
        """The first event called ``name`` that the cloud sent."""

        def wanted(message: Message) -> bool:
            return messages.classify(message) is Kind.EVENT and messages.parse_event(message).name == name

        found = self.inbox.wait(wanted, position=position, within=PATIENCE)
        assert found is not None, f"event {name} did not arrive"
        return messages.parse_event(found)

    def subscribe(self, prefix: str) -> None:
        """Subscribe, and wait until the cloud has it."""
        self.ask(messages.subscribe(self.next_mid(), prefix))

    def goodbye(self) -> None:
        """Leave in good order."""
        reason = messages.Goodbye(cloud_reason=messages.CloudReason.RESET, reset_reason=140)
        message = messages.goodbye(self.next_mid(), reason, confirmable=not self.uses_tcp)
        if self.uses_tcp:
            self.send(message)
        else:
            self.ask(message)

    def ask(self, message: Message) -> Message:
        """Send a confirmable message and return its acknowledgement."""
        position = len(self.inbox)
        self.send(message)
        return self.wait_ack(message.mid, position)

    def send(self, message: Message) -> None:
        """Send any message."""
        self.send_raw(encode(message))

    def send_raw(self, data: bytes) -> None:
        """Send any bytes inside the session."""
        with self._lock:
            sock = self._socket
            if sock is None:
                return
            # A board that is being switched off loses what it was about to say.
            with contextlib.suppress(OSError):
                if self._tcp is not None:
                    sock.sendall(self._tcp.seal(data))
                elif self.session is not None:
                    form = self.kit.resume if self._marking else None
                    sock.sendto(self.session.seal(data, resume=form), self._server)

    # Threads

    def _run_tcp(self, sock: socket.socket) -> None:
        assert isinstance(self.key, rsa.RSAPrivateKey)
        assert isinstance(self._server_key, rsa.RSAPublicKey)
        client = TcpClientSession(self.key, bytes.fromhex(self.device_id), self._server_key)
        sock.connect(self._server)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while data := _receive(sock):
            plaintexts = client.receive(data)
            with contextlib.suppress(OSError):
                sock.sendall(client.take_output())
            if client.established and self._tcp is None:
                with self._lock:
                    self._tcp = client
                    self._mid = client.first_mid - 1
                self._greet()
            for plaintext in plaintexts:
                self._take(decode(plaintext))

    def _run_udp(self, sock: socket.socket) -> None:
        sock.bind(("127.0.0.1", 0))
        client = None
        if self.session is None:
            client = self._shake_hands(sock)
        else:
            self._marking = True
            self._resume()
        while data := _receive(sock):
            if client is not None:
                plaintexts = client.receive(data, time.monotonic())
                self._flush(sock, client)
                if client.failed:
                    return
                if client.session is not None:
                    with self._lock:
                        self.session = client.session
                        self.session.device_id = bytes.fromhex(self.device_id)
                    client = None
                    self._greet()
            else:
                plaintexts = self._open(data)
            for plaintext in plaintexts:
                self._marking = False
                self._take(decode(plaintext))

    def _shake_hands(self, sock: socket.socket) -> ClientConnection:
        assert isinstance(self.key, ec.EllipticCurvePrivateKey)
        assert isinstance(self._server_key, ec.EllipticCurvePublicKey)
        client = ClientConnection(self.key, self._server_key, offer_cid=self.kit.offer_cid)
        client.start(time.monotonic())
        self._flush(sock, client)
        return client

    def _flush(self, sock: socket.socket, client: ClientConnection) -> None:
        for datagram in client.take_output():
            sock.sendto(datagram, self._server)

    def _open(self, datagram: bytes) -> list[bytes]:
        with self._lock:
            if self.session is None:
                return []
            opened = self.session.open(datagram)
        if opened.content_type == ContentType.ALERT:
            self.session = None  # close_notify: the device erases its session
            return []
        return [opened.payload]

    # Introducing itself

    def hello(self) -> Message:
        """The Hello of section 11.1, with this board's id and flags."""
        message = decode(bytes.fromhex(self.kit.hello))
        hello = Hello.parse(message)
        flags = hello.flags & ~self.flag_removed
        if self._updated:
            flags |= HelloFlag.OTA_SUCCEEDED
        device_id = bytes.fromhex(self.device_id) if hello.device_id else None
        hello = dataclasses.replace(hello, flags=flags, device_id=device_id)
        return hello.message(self.next_mid(), confirmable=not self.uses_tcp)

    def _greet(self) -> None:
        """Runs on the receiving thread: everything after the Hello waits for the cloud's answer in ``_take``."""
        self._awaited = self.hello()
        self.send(self._awaited)

    def _introduce(self) -> None:
        system = self._system()
        content_format = 42 if self.kit.protobuf else None
        payload = system.to_protobuf() if self.kit.protobuf else system.to_json()
        if HelloFlag.DEVICE_DESCRIBES not in self.flag_removed:
            self._describe(1, payload, content_format)
            self._describe(2, self._application().to_json(), None)
        for prefix in self.prefixes:
            query = None if self.kit.protobuf else b"u"
            self.send(messages.subscribe(self.next_mid(), prefix, query=query))
        self._updates_event()

    def _updates_event(self) -> None:
        self.send(
            messages.event(
                self.next_mid(), "particle/device/updates/enabled", b"true", confirmable=not self.uses_tcp
            )
        )

    def _describe(self, flags: int, payload: bytes, content_format: int | None) -> None:
        token = self.next_token() if self.kit.token else b""
        self.send(messages.describe_post(self.next_mid(), token, flags, payload, content_format))

    def _resume(self) -> None:
        if self._changed:
            self._changed = False
            self._greet()
        else:
            self.send(ping(self.next_mid()))
            self._updates_event()

    def _system(self) -> SystemDescribe:
        version = {"photon": 2302, "boron": 2302, "electron": 3302, "argon": 6200}[self.kit.name]
        return SystemDescribe(
            None if self.kit.protobuf else self.kit.platform.id,
            (
                ModuleInfo("s", 1, version, max_size=262144),
                ModuleInfo("u", 1, 6, max_size=131072, sha256=self.user_hash),
            ),
        )

    def _application(self) -> ApplicationDescribe:
        kinds = {name: kind for name, (kind, _) in self.variables.items()}
        return ApplicationDescribe(tuple(self.functions), kinds)

    # Answering

    _awaited: Message | None = None

    def _take(self, message: Message) -> None:
        self.inbox.append(message)
        if not self.deaf:
            self._react(message, messages.classify(message))

    def _react(self, message: Message, kind: Kind) -> None:
        if self._awaited is not None:
            greeted = kind is Kind.HELLO if self.uses_tcp else message.mid == self._awaited.mid
            if greeted:
                self._awaited = None
                self._introduce()
            return
        if self._receiver.wants(message):
            for reply in self._receiver.receive(message, time.monotonic()):
                self.send(reply)
        elif message.is_request or kind is Kind.PING:
            self._serve(message, kind)
        elif message.type is Type.CON:
            self.send(empty_ack(message.mid))
        if self._receiver.complete is not None:
            self._apply(self._receiver.complete)

    def _serve(self, message: Message, kind: Kind) -> None:
        # On TCP an event is not acknowledged at all, and the ids of acknowledgements are fresh ones.
        if message.type is Type.CON and not (self.uses_tcp and kind is Kind.EVENT):
            if kind is Kind.SIGNAL:
                self.send(Message(Type.ACK, Code.CHANGED, self._ack_mid(message), message.token))
            else:
                self.send(empty_ack(self._ack_mid(message) if kind is Kind.PING else message.mid))
        confirmable = not self.uses_tcp
        if kind is Kind.FUNCTION:
            call = messages.parse_function_call(message)
            if call.name in self.functions and call.name not in self.silent_functions:
                value = self.functions[call.name](call.argument)
                self.send(
                    messages.function_result(self.next_mid(), call.token, value, confirmable=confirmable)
                )
        elif kind is Kind.VARIABLE:
            self._serve_variable(message)
        elif kind is Kind.DESCRIBE:
            self._serve_describe(message)

    def _ack_mid(self, message: Message) -> int:
        return self.next_mid() if self.uses_tcp else message.mid

    def _serve_variable(self, message: Message) -> None:
        wanted = messages.parse_variable_request(message)
        value = messages.encode_variable(*self.variables[wanted.name])
        self.send(
            messages.variable_result(self.next_mid(), wanted.token, value, confirmable=not self.uses_tcp)
        )

    def _serve_describe(self, message: Message) -> None:
        system = messages.parse_describe_request(message) is messages.DescribeFlag.SYSTEM
        whole = (self._system() if system else self._application()).to_json()
        options: tuple[tuple[int, bytes], ...] = ()
        if self.describe_block:
            asked = message.option(Option.BLOCK2)
            number = int.from_bytes(asked, "big") >> 4 if asked is not None else 0
            size = 1 << (self.describe_block + 4)
            more = (number + 1) * size < len(whole)
            whole = whole[number * size : (number + 1) * size]
            value = number << 4 | more << 3 | self.describe_block
            options = ((Option.ETAG, b"\x01"), (Option.BLOCK2, value.to_bytes(2, "big")))
        type_ = Type.NON if self.uses_tcp else Type.CON
        self.send(Message(type_, Code.CONTENT, self.next_mid(), message.token, options, whole))

    # Updates

    def _new_receiver(self) -> OtaReceiver:
        if self.kit.v3:
            return V3Receiver(1_536_000, self.next_mid, lambda _file: self.verdict)
        return LegacyReceiver(1_536_000, self.uses_tcp, self.next_mid, lambda _file: self.verdict)

    def _apply(self, file: bytes) -> None:
        """Reset into the new application, on a fresh socket and from a fresh thread."""
        self.user_hash = modules.parse(file).sha256
        self._updated = self._changed = True
        self.reboots += 1
        self._receiver = self._new_receiver()

        def reboot() -> None:
            self.power_off()
            self.power_on()

        threading.Thread(target=reboot, daemon=True).start()


def _receive(sock: socket.socket) -> bytes:
    try:
        return sock.recv(65536)
    except OSError:
        return b""


def _shut(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


def _own_address(sock: socket.socket) -> tuple[str, int]:
    host, port = sock.getsockname()
    return str(host), int(port)
