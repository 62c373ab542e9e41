"""Who has proved that it gets our datagrams: cookies for ClientHellos, without remembering who asked for one.

Facts: RFC 6347 4.2.1, protocol fact sheet 2.4. A sender's address may be anybody's until a cookie has come back
from it, so the answer to a hello without one is made from that hello alone and forgotten. It is no longer than
the hello: nobody gains by having it sent to somebody else.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from hil.wire.dtls import handshake_messages as hs
from hil.wire.dtls.demux import Incoming
from hil.wire.dtls.handshake_messages import Fragment, HandshakeMessage, HandshakeType
from hil.wire.dtls.reassembly import Partial
from hil.wire.dtls.records import ContentType, Record

MAX_HELLO = 1024  # bytes; a board's has at most 123, one with every suite that there is about 300
MAX_PARTIAL = 256  # hellos in pieces, of all unproved addresses together
COOKIE_LIFETIME = 120.0  # seconds until there is a new cookie; the one before it is still taken
_SESSION_ID_AT = 2 + hs.RANDOM_SIZE


@dataclass(frozen=True, slots=True)
class ProvedHello:
    """A whole ClientHello with a good cookie. ``number`` is that of its record."""

    number: int
    message: HandshakeMessage

    @property
    def random(self) -> bytes:
        """The client's random: another one is another handshake."""
        return self.message.body[2:_SESSION_ID_AT]

    def datagram(self) -> bytes:
        """The hello in one record, however many it came in."""
        return Record(ContentType.HANDSHAKE, 0, self.number, self.message.encode()).encode()


class Doorkeeper:
    """Judges the ClientHellos of unproved addresses.

    ``secret`` makes the cookies: doorkeepers with the same secret take each other's, so that a handshake
    outlives a restart. Memory is bounded by ``MAX_PARTIAL`` hellos in pieces, the oldest of which gives way.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._keys: dict[int, bytes] = {}
        self._partials: dict[tuple[str, int], Partial] = {}

    def judge(self, incoming: Incoming, address: tuple[str, int], now: float) -> ProvedHello | bytes | None:
        """The hello when it is whole and proved; else the datagram to answer with, or nothing to be done.

        ``now`` in seconds since 1970: what tells one process's cookies from a later one's is the time.
        """
        body = None if incoming.hello is None else self._whole(incoming.hello, address)
        parts = None if body is None else _split(body)
        if incoming.hello is None or body is None or parts is None:
            return None
        cookie, parameters = parts
        covered = f"{address[0]}:{address[1]}\0".encode() + parameters
        period = int(now // COOKIE_LIFETIME)
        sequence = incoming.hello.sequence
        if cookie and any(
            hmac.compare_digest(cookie, self._cookie(covered, each)) for each in (period, period - 1)
        ):
            message = HandshakeMessage(HandshakeType.CLIENT_HELLO, sequence, body)
            return ProvedHello(incoming.number, message)
        return cookie_request(self._cookie(covered, period), incoming.number, sequence)

    def _whole(self, piece: Fragment, address: tuple[str, int]) -> bytes | None:
        """The body of the hello once all of it is there."""
        if piece.length > MAX_HELLO or not piece.data:
            return None
        if len(piece.data) == piece.length:
            return piece.data
        partial = self._partials.get(address)
        if partial is None or not partial.fits(piece):
            self._partials.pop(address, None)
            while len(self._partials) >= MAX_PARTIAL:
                del self._partials[next(iter(self._partials))]
            partial = self._partials[address] = Partial(piece)
        partial.add(piece)
        body = partial.body()
        if body is not None:
            del self._partials[address]
        return body

    def _cookie(self, covered: bytes, period: int) -> bytes:
        key = self._keys.get(period)
        if key is None:
            self._keys = {number: key for number, key in self._keys.items() if number == period - 1}
            key = self._keys[period] = hmac.digest(self._secret, str(period).encode(), "sha256")
        return hmac.digest(key, covered, "sha256")


def cookie_request(cookie: bytes, number: int, sequence: int) -> bytes:
    """The HelloVerifyRequest for a hello with this message number, in a record with this number.

    Both are the hello's own (RFC 6347 4.2.1): who remembers nothing cannot count.
    """
    message = HandshakeMessage(HandshakeType.HELLO_VERIFY_REQUEST, sequence, hs.hello_verify_request(cookie))
    return Record(ContentType.HANDSHAKE, 0, number, message.encode()).encode()


def _split(body: bytes) -> tuple[bytes, bytes] | None:
    """The cookie, and what it stands for: version, random, session id, suites and compression."""
    try:
        cookie_at = _SESSION_ID_AT + 1 + body[_SESSION_ID_AT]
        suites_at = cookie_at + 1 + body[cookie_at]
        compression_at = suites_at + 2 + int.from_bytes(body[suites_at : suites_at + 2], "big")
        end = compression_at + 1 + body[compression_at]
    except IndexError:
        return None
    if end > len(body):
        return None
    return body[cookie_at + 1 : suites_at], body[:cookie_at] + body[suites_at:end]
