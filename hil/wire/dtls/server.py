"""The cloud's end of the DTLS handshake.

Facts: protocol fact sheet 2.2 (the five obligations) and 2.4 (flights). No Certificate is sent; both certificate
types are echoed; the client's key is asked for; a CID goes only to clients that offer the extension. Cookies come
before all this, see ``Doorkeeper``.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric import ec

from hil.device import keys
from hil.errors import UsageError
from hil.wire.dtls import handshake_messages as hs
from hil.wire.dtls.alerts import Alert, HandshakeError
from hil.wire.dtls.connection import ECDSA, Connection, expect, load_peer_key, verify
from hil.wire.dtls.flight import ChangeCipherSpec, FlightPacker, Protected
from hil.wire.dtls.handshake_messages import ClientHello, Fragment, HandshakeMessage, HandshakeType
from hil.wire.dtls.keyschedule import verify_data
from hil.wire.dtls.reader import Reader
from hil.wire.dtls.records import CID_SIZE
from hil.wire.dtls.session import Role, Secrets, Session

_SESSION_ID_SIZE = 32
_STEPS = (
    HandshakeType.CLIENT_HELLO,
    HandshakeType.CERTIFICATE,
    HandshakeType.CLIENT_KEY_EXCHANGE,
    HandshakeType.CERTIFICATE_VERIFY,
    HandshakeType.FINISHED,
)


class ServerConnection(Connection):
    """One handshake with one client, then its records.

    ``cid`` is the 8-byte Connection ID for clients that offer the extension. ``accept_key(spki)`` is asked once
    the client has proved that it holds the key; a refusal sends fatal alert 49. The server has no timers: it
    repeats its flight when the client repeats its own. Keep feeding ``receive`` as long as the connection
    lives; a client that starts anew needs a new object (see ``classify(...).client_random``).

    The first datagram is the client's hello. For one that comes with a cookie, ``first_sequence`` is the number
    of that message and ``first_number`` that of its record: the ServerHello takes both over (RFC 6347 4.2.1).
    """

    def __init__(
        self,
        key: ec.EllipticCurvePrivateKey,
        *,
        cid: bytes,
        accept_key: Callable[[bytes], bool],
        first_sequence: int = 0,
        first_number: int = 0,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        if len(cid) != CID_SIZE:
            raise UsageError("a board takes only Connection IDs of 8 bytes", found=f"{len(cid)} bytes")
        super().__init__()
        self._key = key
        self._cid = cid
        self._accept_key = accept_key
        self._random = random
        self._message_sequence = self._reassembler.next_sequence = first_sequence
        self._packer = FlightPacker(first_number)
        self._step = 0
        self._flight_answers = -1  # sequence of the client message that the last flight answers
        self._master = b""
        self._peer: ec.EllipticCurvePublicKey | None = None
        self._hello: ClientHello | None = None
        self._server_hello: hs.ServerHello | None = None

    @property
    def client_random(self) -> bytes | None:
        """The random of the client's hello, to tell a repeated hello from a new handshake."""
        return None if self._hello is None else self._hello.random

    def receive(self, datagram: bytes) -> list[bytes]:
        """Take a datagram and return the application payloads in it. Never raises; bad records are dropped."""
        return self._feed(datagram)

    def _repeated(self, fragment: Fragment) -> None:
        if fragment.sequence == self._flight_answers and fragment.is_last:
            self._resend()

    def _take_message(self, message: HandshakeMessage) -> None:
        if self._step == len(_STEPS):
            return
        expect(message, _STEPS[self._step])
        if message.type == HandshakeType.CLIENT_HELLO:
            self._take_client_hello(message)
        elif message.type == HandshakeType.CERTIFICATE:
            self._take_certificate(message)
        elif message.type == HandshakeType.CLIENT_KEY_EXCHANGE:
            self._take_key_exchange(message)
        elif message.type == HandshakeType.CERTIFICATE_VERIFY:
            self._take_certificate_verify(message)
        else:
            self._take_finished(message)

    def _take_client_hello(self, message: HandshakeMessage) -> None:
        hello = ClientHello.parse(message.body)
        _check_offer(hello)
        self._hello = hello
        self._flight_answers = message.sequence
        self._transcript.update(message.encode())
        self._step += 1
        self._answer_hello(hello)

    def _answer_hello(self, hello: ClientHello) -> None:
        cid = None if hello.connection_id() is None else self._cid
        self._server_hello = hs.ServerHello(self._random(hs.RANDOM_SIZE), self._random(_SESSION_ID_SIZE), cid)
        parameters = hs.exchange_parameters(self._exchange.point)
        signature = self._key.sign(hello.random + self._server_hello.random + parameters, ECDSA)
        self._send_flight(
            [
                self._next_message(HandshakeType.SERVER_HELLO, self._server_hello.encode()),
                self._next_message(HandshakeType.SERVER_KEY_EXCHANGE, parameters + hs.signed(signature)),
                self._next_message(HandshakeType.CERTIFICATE_REQUEST, hs.CERTIFICATE_REQUEST),
                self._next_message(HandshakeType.SERVER_HELLO_DONE, b""),
            ]
        )

    def _take_certificate(self, message: HandshakeMessage) -> None:
        spki = hs.parse_certificate(message.body)
        self._peer = load_peer_key(spki)
        self.peer_public_key = keys.public_der(self._peer)
        self._transcript.update(message.encode())
        self._step += 1

    def _take_key_exchange(self, message: HandshakeMessage) -> None:
        assert self._hello is not None
        assert self._server_hello is not None
        assert self.peer_public_key is not None
        point = hs.parse_client_key_exchange(message.body)
        randoms = self._hello.random + self._server_hello.random
        secrets = Secrets(
            self._hello.random,
            self._server_hello.random,
            self._exchange.master_secret(point, randoms),
            self._server_hello.session_id,
            self._server_hello.cid or b"",
        )
        self._keys = Session(Role.SERVER, secrets, self.peer_public_key)
        self._master = secrets.master
        self._transcript.update(message.encode())
        self._step += 1

    def _take_certificate_verify(self, message: HandshakeMessage) -> None:
        assert self._peer is not None
        assert self.peer_public_key is not None
        signature = hs.read_signed(Reader(message.body))
        verify(self._peer, signature, self._transcript_hash(), hashed=True)
        if not self._accept_key(self.peer_public_key):
            raise HandshakeError(Alert.ACCESS_DENIED, "the cloud does not accept this device key")
        self._transcript.update(message.encode())
        self._step += 1

    def _take_finished(self, message: HandshakeMessage) -> None:
        expected = verify_data(self._master, True, self._transcript_hash())
        if not hmac.compare_digest(message.body, expected):
            raise HandshakeError(Alert.DECRYPT_ERROR, "the client's Finished does not match the handshake")
        self._transcript.update(message.encode())
        self._step += 1
        self._flight_answers = message.sequence
        body = verify_data(self._master, False, self._transcript_hash())
        finished = self._next_message(HandshakeType.FINISHED, body)
        self._send_flight([ChangeCipherSpec(), Protected(finished)])
        self._established = True


def _check_offer(hello: ClientHello) -> None:
    if hs.CIPHER_SUITE not in hello.suites or not hello.offers_p256():
        raise HandshakeError(Alert.HANDSHAKE_FAILURE, "no cipher suite or curve in common")
    if not hello.offers_raw_public_keys():
        raise HandshakeError(Alert.UNSUPPORTED_CERTIFICATE, "the client does not offer raw public keys")
    if hello.connection_id():
        raise HandshakeError(Alert.ILLEGAL_PARAMETER, "the client wants a Connection ID of its own")
