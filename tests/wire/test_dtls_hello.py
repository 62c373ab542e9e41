"""What devices that differ a little from the captured ones send first, and handshakes that begin in the middle.

The ClientHello is the captured one of protocol fact sheet 8.4, changed where a test says so.
"""

from __future__ import annotations

import pytest

from hil.device import keys
from hil.wire.dtls import ClientConnection, Form, ServerConnection, classify
from hil.wire.dtls import handshake_messages as hs
from hil.wire.dtls.records import Record, split_records
from tests.wire.dtls_front import FrontedServer

SERVER_KEY = keys.generate_server_ec()
DEVICE_KEY = keys.generate_server_ec()
CID = bytes.fromhex("c1d0010203040506")
RANDOM = bytes.fromhex("acfba0ebb779247223924880c5a6a785b7d78c90e4ab63445266e39c3325f95e")
CAPTURED = bytes.fromhex(
    "16fefd000000000000000000670100005b000000000000005bfefd" + RANDOM.hex() + "00000004c0ae00ff0100"
    "002d000d000a00080403040103030301000a000400020017000b0002010000fe000100001300020102001400020102"
)
EXTENSIONS = "000d000a00080403040103030301000a000400020017000b0002010000fe000100001300020102001400020102"


def make_server() -> ServerConnection:
    return ServerConnection(SERVER_KEY, cid=CID, accept_key=lambda _spki: True)


def make_fronted(secret: bytes = b"secret") -> FrontedServer:
    return FrontedServer(SERVER_KEY, cid=CID, accept_key=lambda _spki: True, secret=secret)


def hello_with(extensions: str) -> bytes:
    body = CAPTURED[25 : 25 + 2 + 32] + bytes.fromhex("00000004c0ae00ff0100")
    body += (len(extensions) // 2).to_bytes(2, "big") + bytes.fromhex(extensions)
    return Record(22, 0, 0, hs.HandshakeMessage(1, 0, body).encode()).encode()


def server_hello(datagram: bytes) -> hs.ServerHello:
    server = make_server()
    server.receive(datagram)
    assert server.failed is None
    (flight,) = server.take_output()
    first = split_records(flight)[0].fragment
    assert first[0] == hs.HandshakeType.SERVER_HELLO
    return hs.ServerHello.parse(first[12:])


def test_the_captured_hello_is_identified() -> None:
    incoming = classify(CAPTURED)
    assert (incoming.form, incoming.client_random, incoming.number) == (Form.HANDSHAKE, RANDOM, 0)
    assert incoming.hello is not None
    assert (incoming.hello.sequence, incoming.hello.length) == (0, 91)
    assert hello_with(EXTENSIONS) == CAPTURED


def test_the_answer_has_a_session_id_of_32_bytes_and_just_the_five_extensions() -> None:
    hello = server_hello(CAPTURED)
    assert len(hello.session_id) == 32
    assert [f"{number:04x} {body.hex()}" for number, body in hello.extensions.items()] == [
        "ff01 00",
        "00fe 08c1d0010203040506",
        "000b 0100",
        "0013 02",
        "0014 02",
    ]


@pytest.mark.parametrize(
    "more",
    [
        "00170000",  # extended master secret
        "00160000",  # encrypt-then-MAC
        "00230000",  # session ticket
        "0000000e000c0000096c6f63616c686f7374",  # server name
        "0001000101",  # maximum fragment length
    ],
)
def test_what_a_newer_mbedtls_may_offer_is_not_echoed(more: str) -> None:
    hello = server_hello(hello_with(more + EXTENSIONS))
    assert set(hello.extensions) == {0xFF01, 0xFE, 0x0B, 0x13, 0x14}
    assert hello.extensions == server_hello(CAPTURED).extensions


def test_a_connection_id_by_the_number_of_rfc_9146_is_no_offer() -> None:
    hello = server_hello(hello_with(EXTENSIONS.replace("00fe000100", "0036000100")))
    assert hello.cid is None
    assert 0x36 not in hello.extensions


@pytest.mark.parametrize("algorithms", ["0403", "0401030103030403", "03010303040104030501"])
def test_signature_algorithms_in_any_order(algorithms: str) -> None:
    size = len(algorithms) // 2
    offer = f"000d{size + 2:04x}{size:04x}{algorithms}"
    server = make_server()
    server.receive(hello_with(EXTENSIONS.replace("000d000a00080403040103030301", offer)))
    (flight,) = server.take_output()
    exchange = split_records(flight)[1].fragment[12:]
    assert exchange[:4].hex() == "03001741"
    assert exchange[69:71].hex() == "0403"


def test_the_record_of_a_hello_may_name_dtls_1_0() -> None:
    older = CAPTURED[:1] + b"\xfe\xff" + CAPTURED[3:]
    assert classify(older).client_random == RANDOM
    assert server_hello(older).cid == CID


def test_an_absurd_message_number_is_no_hello() -> None:
    absurd = CAPTURED[:17] + b"\xff\xff" + CAPTURED[19:]
    incoming = classify(absurd)
    assert (incoming.form, incoming.hello, incoming.client_random) == (Form.HANDSHAKE, None, None)


def lose_the_server_after_the_cookie() -> tuple[ClientConnection, bytes]:
    """A client that has got its HelloVerifyRequest, and its second ClientHello."""
    client = ClientConnection(DEVICE_KEY, SERVER_KEY.public_key(), offer_cid=True)
    client.start(0.0)
    forgotten = make_fronted()
    (first,) = client.take_output()
    forgotten.receive(first)
    (request,) = forgotten.take_output()
    client.receive(request, 0.0)
    (second,) = client.take_output()
    return client, second


def join(client: ClientConnection, server: FrontedServer, datagram: bytes) -> list[int]:
    """Carry everything from ``datagram`` on; the numbers of the server's records in clear."""
    numbers = []
    upward = [datagram]
    while upward:
        for one in upward:
            server.receive(one)
        for one in server.take_output():
            numbers += [record.sequence for record in split_records(one) if record.epoch == 0]
            client.receive(one, 0.0)
        upward = client.take_output()
    return numbers


def test_a_handshake_goes_on_with_a_server_that_knows_nothing_of_it() -> None:
    client, second = lose_the_server_after_the_cookie()
    server = make_fronted()
    numbers = join(client, server, second)
    assert client.session is not None
    assert server.connection is not None
    assert server.session is not None
    assert server.receive(client.session.seal(b"\x40\x00\x12\x34")) == [b"\x40\x00\x12\x34"]
    # RFC 6347 4.2.1: the ServerHello has the number of the hello's record, 1; what follows counts on.
    assert numbers == [1, 2, 3, 4, 5]


def test_a_cookie_of_another_secret_is_asked_for_again_and_the_handshake_goes_on() -> None:
    client, second = lose_the_server_after_the_cookie()
    numbers = join(client, make_fronted(b"another"), second)
    assert client.session is not None
    assert numbers == [1, 2, 3, 4, 5, 6]
