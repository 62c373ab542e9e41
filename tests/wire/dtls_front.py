"""The cloud's end as its gateway puts it together, for one client: a doorkeeper, and behind it a handshake."""

from __future__ import annotations

from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric import ec

from hil.wire.dtls import Doorkeeper, ProvedHello, ServerConnection, Session, classify

ADDRESS = ("192.0.2.7", 40000)
NOW = 1_700_000_000.0


class FrontedServer:
    """Has of ``ServerConnection`` what tests of a whole handshake use."""

    def __init__(
        self,
        key: ec.EllipticCurvePrivateKey,
        *,
        cid: bytes,
        accept_key: Callable[[bytes], bool],
        secret: bytes = b"secret",
    ) -> None:
        self._key, self._cid, self._accept_key = key, cid, accept_key
        self.door = Doorkeeper(secret)
        self.connection: ServerConnection | None = None
        self._mtu = 1400
        self._answers: list[bytes] = []

    @property
    def failed(self) -> str | None:
        return None if self.connection is None else self.connection.failed

    @property
    def session(self) -> Session | None:
        return None if self.connection is None else self.connection.session

    def receive(self, datagram: bytes) -> list[bytes]:
        incoming = classify(datagram)
        if incoming.hello is not None:
            judged = self.door.judge(incoming, ADDRESS, NOW)
            if judged is None:
                return []
            if isinstance(judged, bytes):
                self._answers.append(judged)
                return []
            datagram = judged.datagram()
            if self.connection is None:
                self.connection = self._begin(judged)
        return [] if self.connection is None else self.connection.receive(datagram)

    def _begin(self, hello: ProvedHello) -> ServerConnection:
        connection = ServerConnection(
            self._key,
            cid=self._cid,
            accept_key=self._accept_key,
            first_sequence=hello.message.sequence,
            first_number=hello.number,
        )
        connection._mtu = self._mtu
        return connection

    def take_output(self) -> list[bytes]:
        answers, self._answers = self._answers, []
        return answers + ([] if self.connection is None else self.connection.take_output())
