"""The DTLS end of a board in the test's own hands, datagram by datagram."""

from __future__ import annotations

import socket
from typing import Self

from hil.cloud.sync.facade import DeviceCloud
from hil.wire.coap.message import Code, Message, Type, decode, encode
from hil.wire.dtls import ClientConnection
from tests.cloud.scripted_board import PATIENCE, ScriptedBoard


class RawDevice:
    """The DTLS end of a board on a socket that stays the same, however often it starts anew."""

    def __init__(self, cloud: DeviceCloud, board: ScriptedBoard, host: str = "127.0.0.1") -> None:
        self.board = board
        self.cloud = cloud
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.settimeout(PATIENCE)
        self.socket.bind((host, 0))
        self.socket.connect(("127.0.0.1", cloud.udp_port))
        self.address = "{}:{}".format(*self.socket.getsockname())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def begin(self) -> ClientConnection:
        key = self.cloud.core.services.keys.ec.public_key()
        client = ClientConnection(self.board.key, key, offer_cid=True)  # type: ignore[arg-type]
        client.start(0.0)
        self.flush(client)
        return client

    def flush(self, client: ClientConnection) -> None:
        for datagram in client.take_output():
            self.socket.send(datagram)

    def take(self, client: ClientConnection) -> list[bytes]:
        payloads = client.receive(self.socket.recv(2048), 0.0)
        self.flush(client)
        return payloads

    def finish(self, client: ClientConnection) -> None:
        while client.session is None:
            assert client.failed is None
            self.take(client)

    def hello(self, client: ClientConnection) -> Message:
        assert client.session is not None
        message = self.board.hello()
        self.socket.send(client.session.seal(encode(message)))
        while not (payloads := self.take(client)):
            pass
        reply = decode(payloads[0])
        assert (reply.type, reply.code, reply.mid) == (Type.ACK, Code.EMPTY, message.mid)
        return message

    def say(self, client: ClientConnection, message: Message) -> None:
        """Send a message from the device's address."""
        assert client.session is not None
        self.socket.send(client.session.seal(encode(message)))

    def acknowledgements(self, client: ClientConnection, count: int) -> set[int]:
        """The message ids of the next ``count`` acknowledgements; what else comes is left unanswered."""
        mids: set[int] = set()
        while len(mids) < count:
            for message in map(decode, self.take(client)):
                mids |= {message.mid} if message.type is Type.ACK else set()
        return mids
