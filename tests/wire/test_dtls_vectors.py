"""DTLS against captured handshakes and the worked examples 8.4 and 8.5, byte for byte.

The captures hold identity keys and master secret but no ephemeral keys, so the key agreement and the one
captured signature of either end are played back; everything else is computed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from hil.device import keys
from hil.wire.dtls import (
    BadRecord,
    ClientConnection,
    Form,
    Opened,
    ResumeForm,
    Role,
    ServerConnection,
    Session,
    classify,
)
from hil.wire.dtls import handshake_messages as hs
from hil.wire.dtls.doorkeeper import cookie_request
from hil.wire.dtls.keyschedule import KeyBlock, verify_data
from hil.wire.dtls.reader import Reader
from hil.wire.dtls.records import Record, split_records
from hil.wire.dtls.session import Secrets

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent / "protocol_vectors.json").read_text())
CID = bytes.fromhex("c1d0010203040506")
PING = bytes.fromhex("40001234")
PONG = bytes.fromhex("60001234")
RESUME_PING = bytes.fromhex(VECTORS["dtls_resume"]["coap_plaintext"])
DEVICE_ID = bytes.fromhex(VECTORS["dtls_resume"]["device_id"])


@dataclass
class Capture:
    """One captured connection, taken apart."""

    with_cid: bool
    datagrams: list[bytes]
    server_key: ec.EllipticCurvePrivateKey
    device_key: ec.EllipticCurvePrivateKey
    master: bytes
    key_block: bytes
    messages: list[hs.HandshakeMessage] = field(default_factory=list)

    @classmethod
    def load(cls, name: str) -> Capture:
        raw = next(value for key, value in VECTORS.items() if key.startswith(name + " "))
        server, device = (
            keys.load_private(bytes.fromhex(raw[f"{s}_priv_der"])) for s in ("server", "device")
        )
        assert isinstance(server, ec.EllipticCurvePrivateKey)
        assert isinstance(device, ec.EllipticCurvePrivateKey)
        block = next(value for key, value in raw.items() if key.startswith("key_block_40"))
        datagrams = [bytes.fromhex(item["hex"]) for item in raw["datagrams"]]
        capture = cls(
            name == "dtls_with_cid",
            datagrams,
            server,
            device,
            bytes.fromhex(raw["master_secret"]),
            bytes.fromhex(block),
        )
        for record in (record for datagram in datagrams[:5] for record in split_records(datagram)):
            if record.type == 22 and record.epoch == 0:
                for part in hs.parse_fragments(record.fragment):
                    capture.messages.append(hs.HandshakeMessage(part.type, part.sequence, part.data))
        return capture

    def message(self, kind: hs.HandshakeType) -> hs.HandshakeMessage:
        return [message for message in self.messages if message.type == kind][-1]

    @property
    def cid(self) -> bytes:
        return CID if self.with_cid else b""

    @property
    def client_random(self) -> bytes:
        return hs.ClientHello.parse(self.message(hs.HandshakeType.CLIENT_HELLO).body).random

    @property
    def cookie(self) -> bytes:
        return hs.parse_hello_verify_request(self.message(hs.HandshakeType.HELLO_VERIFY_REQUEST).body)

    @property
    def server_hello(self) -> hs.ServerHello:
        return hs.ServerHello.parse(self.message(hs.HandshakeType.SERVER_HELLO).body)

    @property
    def server_exchange(self) -> tuple[bytes, bytes]:
        return hs.parse_server_key_exchange(self.message(hs.HandshakeType.SERVER_KEY_EXCHANGE).body)

    @property
    def client_point(self) -> bytes:
        return hs.parse_client_key_exchange(self.message(hs.HandshakeType.CLIENT_KEY_EXCHANGE).body)

    @property
    def client_signature(self) -> bytes:
        return hs.read_signed(Reader(self.message(hs.HandshakeType.CERTIFICATE_VERIFY).body))

    def transcript(self, upto: hs.HandshakeType) -> bytes:
        """The hashed messages, from the second ClientHello through the one of type ``upto``."""
        hashed = b""
        for message in self.messages[2:]:
            hashed += message.encode()
            if message.type == upto:
                return hashed
        raise AssertionError(upto)

    def secrets(self) -> Secrets:
        hello = self.server_hello
        return Secrets(self.client_random, hello.random, self.master, hello.session_id, self.cid)

    def session(self, role: Role) -> Session:
        peer = self.device_key if role is Role.SERVER else self.server_key
        return Session(role, self.secrets(), keys.public_der(peer))


@pytest.fixture(params=["dtls_with_cid", "dtls_without_cid"])
def capture(request: pytest.FixtureRequest) -> Capture:
    return Capture.load(request.param)


@dataclass
class PlayedExchange:
    """The recorded end's point; gives the recorded master secret for the recorded peer alone."""

    point: bytes
    peer: bytes
    randoms: bytes
    master: bytes

    def master_secret(self, peer_point: bytes, randoms: bytes) -> bytes:
        assert (peer_point, randoms) == (self.peer, self.randoms)
        return self.master


@dataclass
class PlayedKey:
    """A private key that signs with the recorded signature, once it is shown to fit the data."""

    key: ec.EllipticCurvePrivateKey
    signature: bytes

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self.key.public_key()

    def sign(self, data: bytes, algorithm: ec.ECDSA) -> bytes:
        self.key.public_key().verify(self.signature, data, algorithm)
        return self.signature

    @property
    def as_key(self) -> ec.EllipticCurvePrivateKey:
        return cast(ec.EllipticCurvePrivateKey, self)


def recorded(*values: bytes) -> Callable[[int], bytes]:
    queue = list(values)

    def take(size: int) -> bytes:
        value = queue.pop(0)
        assert len(value) == size
        return value

    return take


def played_server(capture: Capture) -> ServerConnection:
    hello = capture.server_hello
    point, signature = capture.server_exchange
    device = keys.public_der(capture.device_key)
    server = ServerConnection(
        PlayedKey(capture.server_key, signature).as_key,
        cid=CID,
        accept_key=lambda spki: spki == device,
        first_sequence=1,
        first_number=1,
        random=recorded(hello.random, hello.session_id),
    )
    randoms = capture.client_random + hello.random
    server._exchange = PlayedExchange(point, capture.client_point, randoms, capture.master)
    return server


def played_client(capture: Capture) -> ClientConnection:
    client = ClientConnection(
        PlayedKey(capture.device_key, capture.client_signature).as_key,
        capture.server_key.public_key(),
        offer_cid=capture.with_cid,
        random=recorded(capture.client_random),
    )
    randoms = capture.client_random + capture.server_hello.random
    point, _ = capture.server_exchange
    client._exchange = PlayedExchange(capture.client_point, point, randoms, capture.master)
    return client


def test_server_answers_the_captured_client_byte_for_byte(capture: Capture) -> None:
    server = played_server(capture)
    hello, verify, second_hello, answer, finish, finished, ping, pong, close = capture.datagrams
    first = classify(hello)
    assert first.hello is not None
    assert cookie_request(capture.cookie, first.number, first.hello.sequence) == verify
    for received, sent in ((second_hello, answer), (finish, finished)):
        assert server.session is None
        assert server.receive(received) == []
        assert server.take_output() == [sent]
    assert server.failed is None
    assert server.peer_public_key == keys.public_der(capture.device_key)
    assert server.receive(ping) == [PING]
    session = server.session
    assert session is not None
    assert session.cid == capture.cid
    assert session.seal(PONG) == pong
    assert session.close_notify() == close


def test_client_answers_the_captured_server_byte_for_byte(capture: Capture) -> None:
    client = played_client(capture)
    hello, verify, second_hello, answer, finish, finished, ping, pong, close = capture.datagrams
    client.start(0.0)
    assert client.take_output() == [hello]
    for received, sent in ((verify, second_hello), (answer, finish)):
        assert client.receive(received, 0.1) == []
        assert client.take_output() == [sent]
    assert client.receive(finished, 0.2) == []
    assert client.take_output() == []
    session = client.session
    assert session is not None
    assert session.seal(PING) == ping
    assert client.receive(pong, 0.3) == [PONG]
    assert client.failed is None
    assert client.receive(close, 0.4) == []
    assert client.failed == "peer sent alert 0 (close_notify)"


def test_captured_sizes(capture: Capture) -> None:
    sizes = [len(datagram) for datagram in capture.datagrams[:6]]
    if capture.with_cid:
        assert sizes == [116, 60, 148, 360, 392, 67]
    else:
        assert sizes == [111, 60, 143, 347, 377, 67]


def test_key_block(capture: Capture) -> None:
    block = KeyBlock.derive(capture.master, capture.client_random, capture.server_hello.random)
    assert block.client_key + block.server_key + block.client_iv + block.server_iv == capture.key_block


def test_captured_signatures_verify(capture: Capture) -> None:
    point, signature = capture.server_exchange
    data = capture.client_random + capture.server_hello.random + hs.exchange_parameters(point)
    capture.server_key.public_key().verify(signature, data, ec.ECDSA(hashes.SHA256()))
    digest = hashlib.sha256(capture.transcript(hs.HandshakeType.CLIENT_KEY_EXCHANGE)).digest()
    capture.device_key.public_key().verify(
        capture.client_signature, digest, ec.ECDSA(utils.Prehashed(hashes.SHA256()))
    )


def test_captured_finished_messages(capture: Capture) -> None:
    hashed = capture.transcript(hs.HandshakeType.CERTIFICATE_VERIFY)
    for number, role in ((4, Role.SERVER), (5, Role.CLIENT)):
        record = split_records(capture.datagrams[number])[-1]
        opened = capture.session(role).open_record(record)
        expected = verify_data(capture.master, role is Role.SERVER, hashlib.sha256(hashed).digest())
        message = hs.HandshakeMessage(hs.HandshakeType.FINISHED, 5, expected).encode()
        assert opened == Opened(22, message)
        hashed += message


def test_captured_bodies_are_what_we_encode(capture: Capture) -> None:
    for cookie, message in zip(
        (b"", capture.cookie), (capture.messages[0], capture.messages[2]), strict=True
    ):
        body = hs.device_client_hello(capture.client_random, cookie, offer_cid=capture.with_cid)
        assert message.body == body
    assert capture.messages[1].body == hs.hello_verify_request(capture.cookie)
    hello = capture.server_hello
    assert hello.cid == (CID if capture.with_cid else None)
    assert capture.message(hs.HandshakeType.SERVER_HELLO).body == hello.encode()
    assert capture.message(hs.HandshakeType.CERTIFICATE_REQUEST).body == hs.CERTIFICATE_REQUEST
    certificate = capture.message(hs.HandshakeType.CERTIFICATE).body
    assert certificate == hs.certificate(keys.public_der(capture.device_key))
    assert hs.parse_certificate(certificate) == keys.public_der(capture.device_key)


def test_application_records_of_both_directions(capture: Capture) -> None:
    *_, ping, pong, close = capture.datagrams
    server, client = capture.session(Role.SERVER), capture.session(Role.CLIENT)
    assert server.open(ping) == Opened(23, PING)
    assert client.open(pong) == Opened(23, PONG)
    assert client.open(close) == Opened(21, b"\x01\x00")
    for session, datagram in ((server, ping), (client, pong)):
        with pytest.raises(BadRecord, match="replayed"):
            session.open(datagram)


RESUME_CASES = [
    ("os_le_3.0 type 254 + id + 0x0c", ResumeForm.DEVICE_ID, Form.DEVICE_ID, "dtls_without_cid"),
    ("os_3.1_to_3.3 type 25", ResumeForm.CID, Form.CID, "dtls_with_cid"),
    ("os_ge_4.0 type 253", ResumeForm.MOVE, Form.MOVE, "dtls_with_cid"),
]


@pytest.mark.parametrize(("vector", "resume", "form", "name"), RESUME_CASES)
def test_resume_datagrams(vector: str, resume: ResumeForm, form: Form, name: str) -> None:
    capture = Capture.load(name)
    datagram = bytes.fromhex(VECTORS["dtls_resume"][vector])
    client = capture.session(Role.CLIENT)
    client.device_id = DEVICE_ID
    client.seal(b"a")
    client.seal(b"b")
    # The device was restarted in between: everything comes from the stored bytes.
    client = Session.from_bytes(client.to_bytes())
    assert client.seal(RESUME_PING, resume=resume) == datagram

    incoming = classify(datagram)
    assert incoming.form is form
    assert incoming.device_id == (DEVICE_ID if form is Form.DEVICE_ID else None)
    assert incoming.cid == (CID if capture.with_cid else None)
    for candidate in (datagram, incoming.record):
        server = Session.from_bytes(capture.session(Role.SERVER).to_bytes())
        assert server.open(candidate) == Opened(23, RESUME_PING)


def test_classify_captured_datagrams(capture: Capture) -> None:
    forms = [classify(datagram).form for datagram in capture.datagrams]
    device_record = Form.CID if capture.with_cid else Form.PLAIN
    assert forms == [Form.HANDSHAKE] * 6 + [device_record, Form.PLAIN, Form.PLAIN]
    for number in (0, 2):
        assert classify(capture.datagrams[number]).client_random == capture.client_random
    assert classify(capture.datagrams[4]).client_random is None


def test_worked_example_of_the_certificate_alert() -> None:
    """A server Certificate makes the device send ``15 fefd 0000.. 0002 02 0a`` and give up."""
    capture = Capture.load("dtls_with_cid")
    client = played_client(capture)
    client.start(0.0)
    client.take_output()
    client.receive(capture.datagrams[1], 0.0)
    client.take_output()
    server_hello = split_records(capture.datagrams[3])[0].encode()
    body = hs.certificate(keys.public_der(capture.server_key))
    certificate = hs.HandshakeMessage(hs.HandshakeType.CERTIFICATE, 2, body).encode()
    client.receive(server_hello + Record(22, 0, 2, certificate).encode(), 0.0)
    (alert,) = client.take_output()
    assert alert.hex() == "15fefd0000000000000002" + "0002" + "020a"
    assert client.failed is not None
    assert "unexpected handshake message" in client.failed
    assert client.next_timeout() is None
