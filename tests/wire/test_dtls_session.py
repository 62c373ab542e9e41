"""Established sessions: replay window, refusals, storing, resume forms, and parsers against garbage."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.errors import UsageError, WireError
from hil.wire.dtls import BadRecord, Form, Opened, ResumeForm, Role, Session, classify
from hil.wire.dtls import handshake_messages as hs
from hil.wire.dtls.alerts import describe_alert
from hil.wire.dtls.handshake_messages import Fragment, HandshakeMessage
from hil.wire.dtls.reader import Reader
from hil.wire.dtls.reassembly import Reassembler
from hil.wire.dtls.records import MAX_SEQUENCE, parse_record, split_records
from hil.wire.dtls.replay import WINDOW, ReplayWindow
from hil.wire.dtls.session import Secrets

CID = b"\x01\x02\x03\x04\x05\x06\x07\x08"
DEVICE_ID = bytes.fromhex("e00fce68aabbccddeeff0011")


def pair(cid: bytes = CID) -> tuple[Session, Session]:
    secrets = Secrets(b"c" * 32, b"s" * 32, b"m" * 48, b"i" * 32, cid)
    client, server = (
        Session(Role.CLIENT, secrets, b"server key"),
        Session(Role.SERVER, secrets, b"device key"),
    )
    client.device_id = DEVICE_ID
    return client, server


@pytest.mark.parametrize("cid", [CID, b""])
def test_both_directions(cid: bytes) -> None:
    client, server = pair(cid)
    for size in range(40):
        payload = bytes(size)
        assert server.open(client.seal(payload)) == Opened(23, payload)
        assert client.open(server.seal(payload)) == Opened(23, payload)


def test_overhead_and_padding() -> None:
    client, server = pair()
    for size in (0, 4, 15, 16, 31):
        assert len(server.seal(bytes(size))) == 29 + size
        assert len(client.seal(bytes(size))) == 37 + (size // 16 + 1) * 16
    plain, _ = pair(b"")
    assert len(plain.seal(bytes(10))) == 39


def test_records_in_any_order_within_the_window() -> None:
    client, server = pair()
    datagrams = [client.seal(bytes([number])) for number in range(WINDOW + 1)]
    server.open(datagrams[-1])
    for datagram in datagrams[1:-1]:
        server.open(datagram)
    with pytest.raises(BadRecord, match="replayed"):
        server.open(datagrams[0])
    for datagram in datagrams:
        with pytest.raises(BadRecord, match="replayed"):
            server.open(datagram)


def test_forged_records_leave_the_window_alone() -> None:
    client, server = pair()
    datagram = client.seal(b"hello")
    for at in range(len(datagram)):
        forged = bytearray(datagram)
        forged[at] ^= 1
        with pytest.raises(BadRecord):
            server.open(bytes(forged))
    assert server.open(datagram).payload == b"hello"


def test_record_of_another_connection_id_or_epoch() -> None:
    client, server = pair()
    datagram = client.seal(b"x")
    with pytest.raises(BadRecord, match="Connection ID"):
        server.open(datagram[:11] + b"\xff" * 8 + datagram[19:])
    with pytest.raises(BadRecord, match="epoch"):
        server.open(datagram[:3] + b"\x00\x02" + datagram[5:])
    other, _ = pair(b"")
    with pytest.raises(BadRecord, match="Connection ID"):
        server.open(other.seal(b"x"))


def test_own_records_do_not_open() -> None:
    _, server = pair(b"")
    with pytest.raises(BadRecord, match="MAC"):
        server.open(server.seal(b"reflected"))


def test_stored_session_goes_on_where_it_was() -> None:
    client, server = pair()
    old = client.seal(b"one")
    server.open(old)
    server.seal(b"reply")
    taken_up = Session.from_bytes(server.to_bytes())
    assert taken_up.to_bytes() == server.to_bytes()
    assert taken_up.role is Role.SERVER
    assert taken_up.cid == CID
    assert taken_up.peer_public_key == b"device key"
    with pytest.raises(BadRecord, match="replayed"):
        taken_up.open(old)
    assert taken_up.open(client.seal(b"two")).payload == b"two"
    assert taken_up.seal(b"next") == server.seal(b"next")


def test_skipping_numbers_that_may_have_been_used() -> None:
    client, server = pair()
    stored = server.to_bytes()
    later = [server.seal(b"lost in the crash") for _ in range(5)]
    for datagram in later:
        client.open(datagram)
    taken_up = Session.from_bytes(stored, skip=100)
    assert taken_up.write_sequence == 100
    assert client.open(taken_up.seal(b"after")).payload == b"after"


def test_resume_forms_that_do_not_fit() -> None:
    client, server = pair()
    with pytest.raises(UsageError, match="cannot be resumed"):
        server.seal(b"", resume=ResumeForm.MOVE)
    with pytest.raises(UsageError, match="cannot be resumed"):
        client.seal(b"", resume=ResumeForm.DEVICE_ID)
    plain, _ = pair(b"")
    with pytest.raises(UsageError, match="cannot be resumed"):
        plain.seal(b"", resume=ResumeForm.CID)
    plain.device_id = b""
    with pytest.raises(UsageError, match="device_id"):
        plain.seal(b"", resume=ResumeForm.DEVICE_ID)
    assert plain.write_sequence == 0


def test_limits_of_sealing() -> None:
    client, _ = pair()
    with pytest.raises(UsageError, match="too long"):
        client.seal(bytes(16385))
    worn = Session.from_bytes(client.to_bytes(), skip=MAX_SEQUENCE + 1)
    with pytest.raises(UsageError, match="used up"):
        worn.seal(b"")


def test_secrets_are_not_shown() -> None:
    assert "m" * 8 not in repr(Secrets(b"", b"", b"m" * 48, b"", CID))


@pytest.mark.parametrize(
    ("datagram", "form"),
    [
        (b"", Form.OTHER),
        (b"\x00", Form.OTHER),
        (b"\x16\xfe\xff" + bytes(10), Form.HANDSHAKE),
        (b"\x16\xfe\xff\x00\x01" + bytes(8), Form.OTHER),
        (b"\x17\xfe\xff" + bytes(10), Form.OTHER),
        (b"\x18\xfe\xfd" + bytes(10), Form.OTHER),
        (b"\x19\xfe\xfd" + bytes(17), Form.OTHER),
        (b"\xfe\xfe\xfd" + bytes(22) + b"\x0d", Form.OTHER),
        (b"\x15\xfe\xfd" + bytes(10), Form.HANDSHAKE),
        (b"\x17\xfe\xfd\x00\x01" + bytes(8), Form.PLAIN),
    ],
)
def test_classify_edges(datagram: bytes, form: Form) -> None:
    assert classify(datagram).form is form


@pytest.mark.parametrize(
    ("payload", "ends"),
    [(b"\x01\x00", True), (b"\x02\x0a", True), (b"\x02\xc8", True), (b"\x01\x5a", False), (b"\x02", False)],
)
def test_which_alerts_end_a_session(payload: bytes, ends: bool) -> None:
    assert describe_alert(payload)[0] is ends


@given(st.lists(st.integers(0, 300), max_size=200))
def test_replay_window_accepts_each_number_once(numbers: list[int]) -> None:
    window, seen, newest = ReplayWindow(), set[int](), -1
    for number in numbers:
        expected = number not in seen and number > newest - WINDOW
        assert window.is_fresh(number) is expected
        if expected:
            window.mark(number)
            seen.add(number)
            newest = max(newest, number)


@given(st.binary(max_size=200), st.lists(st.integers(0, 8), max_size=12), st.randoms())
def test_reassembly_of_shuffled_overlapping_fragments(body: bytes, cuts: list[int], random: object) -> None:
    message = HandshakeMessage(11, 0, body)
    pieces: list[Fragment] = []
    for start in range(0, max(len(body), 1), 7):
        for extra in [1, *cuts]:
            pieces += hs.parse_fragments(message.fragment(start, 6 + extra))
    random.shuffle(pieces)  # type: ignore[attr-defined]
    reassembler = Reassembler()
    for piece in pieces:
        reassembler.add(piece)
    assert reassembler.pop() == message
    assert reassembler.pop() is None


def test_reassembly_is_bounded() -> None:
    reassembler = Reassembler()
    reassembler.add(Fragment(11, 1 << 23, 0, 0, b"x"))
    reassembler.add(Fragment(11, 1, 8, 0, b"x"))
    reassembler.add(Fragment(11, 2, 1, 0, b"ab"))
    assert reassembler.pop() is None
    reassembler.add(Fragment(11, 1, 0, 0, b"x"))
    assert reassembler.pop() == HandshakeMessage(11, 0, b"x")
    assert reassembler.pop() == HandshakeMessage(11, 1, b"ab")
    assert reassembler.pop() is None


PARSERS: list[Callable[[bytes], object]] = [
    parse_record,
    hs.parse_fragments,
    hs.ClientHello.parse,
    hs.ServerHello.parse,
    hs.parse_hello_verify_request,
    hs.parse_server_key_exchange,
    hs.parse_certificate,
    hs.parse_client_key_exchange,
    lambda data: hs.read_signed(Reader(data)),
    Session.from_bytes,
    lambda data: pair()[1].open(data),
    lambda data: pair(b"")[1].open(data),
]
SEEDS = [
    hs.device_client_hello(b"r" * 32, b"cookie", offer_cid=True),
    hs.ServerHello(b"r" * 32, b"i" * 32, CID).encode(),
    hs.exchange_parameters(b"p" * 65) + hs.signed(b"s" * 70),
    hs.certificate(b"k" * 91),
    HandshakeMessage(1, 0, b"body").encode(),
    pair()[0].seal(b"hello"),
    pair(b"")[0].seal(b"hello", resume=ResumeForm.DEVICE_ID),
    pair()[0].to_bytes(),
]


def feed_parsers(data: bytes) -> None:
    classify(data)
    split_records(data)
    for parse in PARSERS:
        try:
            parse(data)
        except WireError:
            continue


@given(st.binary(max_size=300))
def test_parsers_raise_only_wire_errors_on_garbage(data: bytes) -> None:
    feed_parsers(data)


@given(st.sampled_from(SEEDS), st.data())
def test_parsers_raise_only_wire_errors_on_mutations(seed: bytes, data: st.DataObject) -> None:
    mutated = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 4))):
        mutated[data.draw(st.integers(0, len(seed) - 1))] = data.draw(st.integers(0, 255))
    feed_parsers(bytes(mutated[: data.draw(st.integers(0, len(seed)))]))
    feed_parsers(bytes(mutated))


@given(st.binary(max_size=64), st.binary(min_size=32, max_size=32), st.booleans())
def test_hellos_survive_the_round_trip(cookie: bytes, random: bytes, offer_cid: bool) -> None:
    hello = hs.ClientHello.parse(hs.device_client_hello(random, cookie, offer_cid=offer_cid))
    assert (hello.random, hello.cookie, hello.session_id) == (random, cookie, b"")
    assert hello.suites == (0xC0AE, 0x00FF)
    assert list(hello.extensions) == ([13, 10, 11, 254, 19, 20] if offer_cid else [13, 10, 11, 19, 20])
    assert hello.connection_id() == (b"" if offer_cid else None)
    assert hello.offers_raw_public_keys()
    assert hello.offers_p256()
