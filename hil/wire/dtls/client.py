"""The device's end of the DTLS handshake, with the timers and refusals of Device OS.

Facts: protocol fact sheet 2.2 to 2.4.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric import ec

from hil.device import keys
from hil.wire.dtls import handshake_messages as hs
from hil.wire.dtls.alerts import Alert, HandshakeError
from hil.wire.dtls.connection import ECDSA_OF_HASH, Connection, expect, verify
from hil.wire.dtls.flight import FALLBACK_MTU, ChangeCipherSpec, FlightItem, Protected
from hil.wire.dtls.handshake_messages import Fragment, HandshakeMessage, HandshakeType
from hil.wire.dtls.keyschedule import verify_data
from hil.wire.dtls.records import CID_SIZE
from hil.wire.dtls.session import Role, Secrets, Session

FIRST_TIMEOUT = 3.0
LAST_TIMEOUT = 24.0
_STEPS = (
    HandshakeType.SERVER_HELLO,
    HandshakeType.SERVER_KEY_EXCHANGE,
    HandshakeType.CERTIFICATE_REQUEST,
    HandshakeType.SERVER_HELLO_DONE,
    HandshakeType.FINISHED,
)


class ClientConnection(Connection):
    """One handshake with the cloud, then its records.

    Each flight is repeated after 3, 6 and 12 s more, and given up 24 s after that (45 s in all). With
    ``offer_cid`` (Device OS >= 3.1) a session without an 8-byte Connection ID is not used.
    Call ``on_timeout`` once ``next_timeout()`` (absolute, seconds) has come.
    """

    def __init__(
        self,
        key: ec.EllipticCurvePrivateKey,
        server_public_key: ec.EllipticCurvePublicKey,
        *,
        offer_cid: bool,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        super().__init__()
        self._key = key
        self._server_key = server_public_key
        self._offer_cid = offer_cid
        self._client_random = random(hs.RANDOM_SIZE)
        self._step = 0
        self._timeout = FIRST_TIMEOUT
        self._deadline: float | None = None
        self._server_hello: hs.ServerHello | None = None
        self._server_point = b""
        self._master = b""
        self.peer_public_key = keys.public_der(server_public_key)

    def start(self, now: float) -> None:
        """Send the first ClientHello."""
        self._send_hello(b"")
        self._arm(now)

    def next_timeout(self) -> float | None:
        """When ``on_timeout`` is due; ``None`` while nothing is awaited."""
        return self._deadline

    def on_timeout(self, now: float) -> None:
        """Repeat the flight, or give up. Does nothing before the time has come."""
        if self._deadline is None or now < self._deadline:
            return
        if self._timeout >= LAST_TIMEOUT:
            self.failed = "no answer from the server: handshake given up"
            self._deadline = None
            return
        if self._timeout > FIRST_TIMEOUT:
            self._mtu = FALLBACK_MTU
        self._timeout *= 2
        self._deadline = now + self._timeout
        self._resend()

    def receive(self, datagram: bytes, now: float) -> list[bytes]:
        """Take a datagram and return the application payloads in it. Never raises; bad records are dropped."""
        flight = self._flight
        payloads = self._feed(datagram)
        if self.failed is not None or self._established:
            self._deadline = None
        elif self._flight is not flight:
            self._arm(now)
        return payloads

    def _arm(self, now: float) -> None:
        self._timeout = FIRST_TIMEOUT
        self._deadline = now + self._timeout

    def _fail(self, what: str, alert: Alert, *, protected: bool = False) -> None:
        # Once the second flight is out the server reads epoch 1 only.
        super()._fail(what, alert, protected=protected or self._keys is not None)

    def _send_hello(self, cookie: bytes) -> None:
        body = hs.device_client_hello(self._client_random, cookie, offer_cid=self._offer_cid)
        self._send_flight([self._next_message(HandshakeType.CLIENT_HELLO, body)])

    def _repeated(self, fragment: Fragment) -> None:
        """Nothing: the client repeats its flights by its own timers only."""

    def _take_message(self, message: HandshakeMessage) -> None:
        if self._step == len(_STEPS):
            return
        # Asked again, it asks again: its first cookie may have been too old, or another client's.
        if self._step == 0 and message.type == HandshakeType.HELLO_VERIFY_REQUEST:
            self._transcript = hashlib.sha256()
            self._send_hello(hs.parse_hello_verify_request(message.body))
            return
        expect(message, _STEPS[self._step])
        if message.type == HandshakeType.FINISHED:
            self._take_finished(message)
            return
        self._transcript.update(message.encode())
        self._step += 1
        if message.type == HandshakeType.SERVER_HELLO:
            self._take_server_hello(message)
        elif message.type == HandshakeType.SERVER_KEY_EXCHANGE:
            self._take_key_exchange(message)
        elif message.type == HandshakeType.SERVER_HELLO_DONE:
            self._answer()

    def _take_server_hello(self, message: HandshakeMessage) -> None:
        hello = hs.ServerHello.parse(message.body)
        if not hello.uses_raw_public_keys():
            raise HandshakeError(Alert.UNSUPPORTED_CERTIFICATE, "the server did not echo raw public keys")
        if (hello.cid is not None and not self._offer_cid) or len(hello.cid or b"") not in (0, CID_SIZE):
            raise HandshakeError(Alert.ILLEGAL_PARAMETER, "the server sent an unusable Connection ID")
        self._server_hello = hello

    def _take_key_exchange(self, message: HandshakeMessage) -> None:
        assert self._server_hello is not None
        point, signature = hs.parse_server_key_exchange(message.body)
        data = self._client_random + self._server_hello.random + hs.exchange_parameters(point)
        verify(self._server_key, signature, data, hashed=False)
        self._server_point = point

    def _answer(self) -> None:
        assert self._server_hello is not None
        assert self.peer_public_key is not None
        hello = self._server_hello
        randoms = self._client_random + hello.random
        self._master = self._exchange.master_secret(self._server_point, randoms)
        secrets = Secrets(self._client_random, hello.random, self._master, hello.session_id, hello.cid or b"")
        flight: list[FlightItem] = [
            self._next_message(
                HandshakeType.CERTIFICATE, hs.certificate(keys.public_der(self._key.public_key()))
            ),
            self._next_message(
                HandshakeType.CLIENT_KEY_EXCHANGE, hs.client_key_exchange(self._exchange.point)
            ),
        ]
        signature = self._key.sign(self._transcript_hash(), ECDSA_OF_HASH)
        flight.append(self._next_message(HandshakeType.CERTIFICATE_VERIFY, hs.signed(signature)))
        body = verify_data(self._master, True, self._transcript_hash())
        finished = self._next_message(HandshakeType.FINISHED, body)
        self._keys = Session(Role.CLIENT, secrets, self.peer_public_key)
        self._send_flight([*flight, ChangeCipherSpec(), Protected(finished)])

    def _take_finished(self, message: HandshakeMessage) -> None:
        expected = verify_data(self._master, False, self._transcript_hash())
        if not hmac.compare_digest(message.body, expected):
            raise HandshakeError(Alert.DECRYPT_ERROR, "the server's Finished does not match the handshake")
        self._step += 1
        assert self._keys is not None
        if self._offer_cid and len(self._keys.cid) != CID_SIZE:
            self.failed = "Unable to get connection ID"
            return
        self._established = True
