"""What both ends of a DTLS handshake share: taking datagrams apart, transcript, flights, alerts, the session."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from hil.device import keys
from hil.errors import WireError
from hil.wire.dtls import alerts
from hil.wire.dtls.alerts import Alert, HandshakeError
from hil.wire.dtls.demux import normalise
from hil.wire.dtls.flight import ETHERNET_MTU, FlightItem, FlightPacker
from hil.wire.dtls.handshake_messages import (
    Fragment,
    HandshakeMessage,
    HandshakeType,
    parse_fragments,
)
from hil.wire.dtls.keyschedule import EcdheExchange, KeyExchange
from hil.wire.dtls.reassembly import Reassembler
from hil.wire.dtls.records import ContentType, Record, split_records
from hil.wire.dtls.session import BadRecord, Session

_MAX_HELD = 8  # records
_MAX_HELD_SIZE = 128  # bytes; a Finished has 48
ECDSA = ec.ECDSA(hashes.SHA256())
ECDSA_OF_HASH = ec.ECDSA(utils.Prehashed(hashes.SHA256()))


class Connection(ABC):
    """One end of a connection; see ``ServerConnection`` and ``ClientConnection``."""

    def __init__(self) -> None:
        self.failed: str | None = None
        self.peer_public_key: bytes | None = None
        self._exchange: KeyExchange = EcdheExchange()
        self._output: list[bytes] = []
        self._packer = FlightPacker()
        self._reassembler = Reassembler()
        self._transcript = hashlib.sha256()
        self._message_sequence = 0
        self._flight: list[FlightItem] = []
        self._mtu = ETHERNET_MTU
        self._held: list[Record] = []
        self._keys: Session | None = None
        self._established = False

    @property
    def session(self) -> Session | None:
        """The session once the handshake is over, else ``None``."""
        return self._keys if self._established else None

    def take_output(self) -> list[bytes]:
        """Datagrams to send now."""
        output, self._output = self._output, []
        return output

    def _feed(self, datagram: bytes) -> list[bytes]:
        """Take a datagram and return the application payloads in it; what does not fit is dropped."""
        payloads: list[bytes] = []
        try:
            records = split_records(normalise(datagram))
        except WireError:
            return payloads
        for record in records:
            self._take_record(record, payloads)
            if self._keys is not None and self._held:
                held, self._held = self._held, []
                for late in held:
                    self._take_record(late, payloads)
        return payloads

    def _take_record(self, record: Record, payloads: list[bytes]) -> None:
        if self.failed is not None:
            return
        if record.epoch == 0:
            self._take_content(record.type, record.fragment, payloads, protected=False)
        elif self._keys is None:
            # Finished overtook the messages that the keys come from.
            if len(self._held) < _MAX_HELD and len(record.fragment) <= _MAX_HELD_SIZE:
                self._held.append(record)
        else:
            try:
                opened = self._keys.open_record(record)
            except BadRecord:
                return
            self._take_content(opened.content_type, opened.payload, payloads, protected=True)

    def _take_content(self, kind: int, data: bytes, payloads: list[bytes], *, protected: bool) -> None:
        if kind == ContentType.HANDSHAKE:
            self._take_handshake(data, protected=protected)
        elif kind == ContentType.ALERT and (protected or not self._established):
            ends, what = alerts.describe_alert(data)
            self.failed = what if ends else None
        elif kind == ContentType.APPLICATION and protected and self._established:
            payloads.append(data)

    def _take_handshake(self, data: bytes, *, protected: bool) -> None:
        try:
            fragments = parse_fragments(data)
        except WireError:
            return
        for fragment in fragments:
            if (fragment.type == HandshakeType.FINISHED) is not protected:
                continue
            if fragment.sequence < self._reassembler.next_sequence:
                self._repeated(fragment)
            self._reassembler.add(fragment)
        while self.failed is None and (message := self._reassembler.pop()) is not None:
            try:
                self._take_message(message)
            except HandshakeError as error:
                self._fail(error.what, error.alert)
            except WireError as error:
                self._fail(error.what, Alert.DECODE_ERROR)

    @abstractmethod
    def _take_message(self, message: HandshakeMessage) -> None:
        """Handle the next handshake message. Raises ``WireError`` to end the handshake."""

    @abstractmethod
    def _repeated(self, fragment: Fragment) -> None:
        """Handle a fragment of a message that was handled before."""

    def _fail(self, what: str, alert: Alert, *, protected: bool = False) -> None:
        self.failed = what
        payload = alerts.fatal(alert)
        if protected and self._keys is not None:
            self._output.append(self._keys.seal(payload, content_type=ContentType.ALERT))
        else:
            self._output.append(self._packer.clear_record(ContentType.ALERT, payload))

    def _next_message(self, kind: HandshakeType, body: bytes) -> HandshakeMessage:
        message = HandshakeMessage(kind, self._message_sequence, body)
        self._message_sequence += 1
        self._transcript.update(message.encode())
        return message

    def _send_flight(self, flight: list[FlightItem]) -> None:
        self._flight = flight
        self._resend()

    def _resend(self) -> None:
        self._output += self._packer.pack(self._flight, self._keys, self._mtu)

    def _transcript_hash(self) -> bytes:
        return self._transcript.copy().digest()


def expect(message: HandshakeMessage, *kinds: HandshakeType) -> None:
    """Raise unless ``message`` is of one of ``kinds``."""
    if message.type not in kinds:
        raise HandshakeError(
            Alert.UNEXPECTED_MESSAGE,
            "unexpected handshake message",
            expected=" or ".join(kind.name for kind in kinds),
            found=str(message.type),
        )


def verify(key: ec.EllipticCurvePublicKey, signature: bytes, data: bytes, *, hashed: bool) -> None:
    """Check an ECDSA-SHA256 signature over ``data``, or over what ``data`` is the hash of."""
    try:
        key.verify(signature, data, ECDSA_OF_HASH if hashed else ECDSA)
    except InvalidSignature as error:
        raise HandshakeError(Alert.DECRYPT_ERROR, "handshake signature does not verify") from error


def load_peer_key(spki: bytes) -> ec.EllipticCurvePublicKey:
    """The peer's P-256 key out of its raw-public-key certificate."""
    try:
        key = keys.load_public(spki)
    except WireError as error:
        raise HandshakeError(Alert.BAD_CERTIFICATE, error.what) from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise HandshakeError(Alert.UNSUPPORTED_CERTIFICATE, "the peer's key is not on P-256")
    return key
