"""Client against server: refusals, timers, retransmission, fragmentation, and bad channels."""

from __future__ import annotations

import heapq
import random as random_module
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.device import keys
from hil.errors import UsageError
from hil.wire.dtls import ClientConnection, ContentType, ServerConnection
from hil.wire.dtls import handshake_messages as hs
from hil.wire.dtls.records import Record, split_records
from tests.wire.dtls_front import FrontedServer

SERVER_KEY = keys.generate_server_ec()
DEVICE_KEY = keys.generate_server_ec()
DEVICE_SPKI = keys.public_der(DEVICE_KEY)
CID = b"cid-cid-"


Server = FrontedServer | ServerConnection


def make_server(accept: Callable[[bytes], bool] = lambda spki: spki == DEVICE_SPKI) -> FrontedServer:
    return FrontedServer(SERVER_KEY, cid=CID, accept_key=accept)


def bare_server() -> ServerConnection:
    """A server that asks for no cookie."""
    return ServerConnection(SERVER_KEY, cid=CID, accept_key=lambda spki: spki == DEVICE_SPKI)


def make_client(*, offer_cid: bool = True) -> ClientConnection:
    client = ClientConnection(DEVICE_KEY, SERVER_KEY.public_key(), offer_cid=offer_cid)
    client.start(0.0)
    return client


def exchange(client: ClientConnection, server: Server) -> None:
    """Carry datagrams both ways until neither end has more."""
    while True:
        upward = client.take_output()
        for datagram in upward:
            server.receive(datagram)
        downward = server.take_output()
        for datagram in downward:
            client.receive(datagram, 0.0)
        if not upward and not downward:
            return


def assert_joined(client: ClientConnection, server: Server) -> None:
    assert client.failed is None
    assert server.failed is None
    assert client.session is not None
    assert server.session is not None
    assert server.receive(client.session.seal(b"up")) == [b"up"]
    assert client.receive(server.session.seal(b"down"), 0.0) == [b"down"]


@pytest.mark.parametrize("cookies", [True, False])
@pytest.mark.parametrize("offer_cid", [True, False])
def test_handshake(cookies: bool, offer_cid: bool) -> None:
    client, server = make_client(offer_cid=offer_cid), make_server() if cookies else bare_server()
    exchange(client, server)
    assert_joined(client, server)
    assert server.session is not None
    assert server.session.cid == (CID if offer_cid else b"")
    assert server.session.peer_public_key == DEVICE_SPKI
    assert client.next_timeout() is None


def test_server_refuses_a_key() -> None:
    asked: list[bytes] = []

    def accept(spki: bytes) -> bool:
        asked.append(spki)
        return False

    client, server = make_client(), make_server(accept=accept)
    exchange(client, server)
    assert asked == [DEVICE_SPKI]
    assert server.failed == "the cloud does not accept this device key"
    assert server.session is None
    assert client.failed == "peer sent fatal alert 49 (access_denied)"
    assert client.session is None


def test_server_does_not_ask_about_a_key_that_was_not_proved() -> None:
    """Someone else's public key with one's own signature is refused before ``accept_key``."""
    client, server = make_client(), make_server(accept=lambda _spki: pytest.fail("asked"))
    client._key = _KeyOfAnother()  # type: ignore[assignment]
    exchange(client, server)
    assert server.failed == "handshake signature does not verify"
    assert client.failed == "peer sent fatal alert 51 (decrypt_error)"


class _KeyOfAnother:
    """Shows the public key of one and signs with the key of another."""

    public_key = staticmethod(DEVICE_KEY.public_key)
    sign = staticmethod(keys.generate_server_ec().sign)


def test_empty_certificate_is_refused() -> None:
    client, server = make_client(), make_server()
    for _ in range(2):
        (datagram,) = client.take_output()
        server.receive(datagram)
        (answer,) = server.take_output()
        client.receive(answer, 0.0)
    body = hs.certificate(b"")
    message = hs.HandshakeMessage(hs.HandshakeType.CERTIFICATE, 2, body)
    server.receive(Record(22, 0, 9, message.encode()).encode())
    assert server.failed is not None
    (alert,) = server.take_output()
    assert alert[-2:] == b"\x02\x2a"


def test_client_refuses_another_servers_key() -> None:
    client = ClientConnection(DEVICE_KEY, DEVICE_KEY.public_key(), offer_cid=True)
    client.start(0.0)
    server = make_server()
    exchange(client, server)
    assert client.failed == "handshake signature does not verify"
    assert server.failed == "peer sent fatal alert 51 (decrypt_error)"


def test_client_refuses_a_session_without_connection_id() -> None:
    """Device OS >= 3.1 completes TLS and then gives up."""
    client, server = make_client(), bare_server()
    original = server._answer_hello
    server._answer_hello = lambda hello: original(  # type: ignore[method-assign]
        replace(hello, extensions={k: v for k, v in hello.extensions.items() if k != 254})
    )
    exchange(client, server)
    assert server.session is not None
    assert client.session is None
    assert client.failed == "Unable to get connection ID"
    assert client.next_timeout() is None


def client_hello(change: Callable[[bytes], bytes]) -> bytes:
    body = change(hs.device_client_hello(b"r" * 32, b"", offer_cid=True))
    return Record(22, 0, 0, hs.HandshakeMessage(1, 0, body).encode()).encode()


@pytest.mark.parametrize(
    ("old", "new", "alert"),
    [
        ("0004c0ae00ff", "0004c0ac00ff", 40),
        ("000a000400020017", "000a000400020018", 40),
        ("001300020102", "001300020100", 43),
        ("001400020102", "001400020100", 43),
        ("00fe000100", "00fe000101", 50),
        ("fefd", "feff", 50),
    ],
)
def test_server_refuses_unusable_hellos(old: str, new: str, alert: int) -> None:
    server = bare_server()
    server.receive(client_hello(lambda body: bytes.fromhex(body.hex().replace(old, new, 1))))
    (sent,) = server.take_output()
    assert sent[-2:] == bytes([2, alert])
    assert server.failed is not None


def test_connection_id_must_have_eight_bytes() -> None:
    with pytest.raises(UsageError, match="8 bytes"):
        ServerConnection(SERVER_KEY, cid=b"short", accept_key=lambda _spki: True)


def test_client_timers_of_device_os() -> None:
    client = make_client()
    (first,) = client.take_output()
    sent_at = [0.0]
    while (deadline := client.next_timeout()) is not None:
        client.on_timeout(deadline - 0.01)
        assert client.take_output() == []
        client.on_timeout(deadline)
        for datagram in client.take_output():
            sent_at.append(deadline)
            # Unchanged but for the record sequence number.
            assert datagram[:5] + datagram[11:] == first[:5] + first[11:]
            assert datagram[10] == len(sent_at) - 1
        last = deadline
    assert sent_at == [0.0, 3.0, 9.0, 21.0]
    assert last == 45.0
    assert client.failed == "no answer from the server: handshake given up"


@pytest.mark.parametrize("lost", range(6))
def test_each_flight_may_be_lost_once(lost: int) -> None:
    """Client timers repeat flights 1, 3 and 5; the server repeats 2, 4 and 6 when the client repeats."""
    client, server = make_client(), make_server()
    flights = 0
    for _ in range(12):
        for sender, deliver in ((client, server.receive), (server, lambda d: client.receive(d, 0.0))):
            for datagram in sender.take_output():
                if flights != lost:
                    deliver(datagram)
                flights += 1
        if client.session is None and (deadline := client.next_timeout()) is not None:
            client.on_timeout(deadline)
    assert_joined(client, server)


def test_server_repeats_only_for_the_end_of_the_clients_flight() -> None:
    client, server = make_client(), make_server()
    (first,) = client.take_output()
    server.receive(first)
    (verify,) = server.take_output()
    server.receive(first)
    assert server.take_output() == [verify]
    client.receive(verify, 0.0)
    (second,) = client.take_output()
    server.receive(second)
    (answer,) = server.take_output()
    server.receive(first)
    assert server.take_output() == [verify]
    server.receive(second)
    assert [len(datagram) for datagram in server.take_output()] == [len(answer)]


def test_fragments_of_a_repeated_hello_are_answered_once() -> None:
    client, server = make_client(), make_server()
    server.receive(client.take_output()[0])
    assert len(server.take_output()) == 1
    client._mtu = 60
    client.on_timeout(3.0)
    fragments = client.take_output()
    assert len(fragments) > 2
    for datagram in fragments:
        server.receive(datagram)
    assert len(server.take_output()) == 1


def test_replayed_last_flight_is_not_answered_but_a_repeated_one_is() -> None:
    client, server = make_client(), make_server()
    flights: list[bytes] = []
    for _ in range(3):
        (datagram,) = client.take_output()
        flights.append(datagram)
        server.receive(datagram)
        answers = server.take_output()
        if len(flights) < 3:
            client.receive(answers[0], 0.0)
    server.receive(flights[-1])
    assert server.take_output() == []
    client.on_timeout(3.0)
    (repeated,) = client.take_output()
    server.receive(repeated)
    (again,) = server.take_output()
    client.receive(again, 3.1)
    assert_joined(client, server)


@pytest.mark.parametrize("mtu", [60, 100, 200, 508])
def test_fragmented_flights(mtu: int) -> None:
    client, server = make_client(), make_server()
    client._mtu = server._mtu = mtu
    largest = 0
    while client.session is None and client.failed is None:
        up = client.take_output()
        for datagram in reversed(up):
            server.receive(datagram)
        down = server.take_output()
        for datagram in reversed(down):
            client.receive(datagram, 0.0)
        largest = max([largest, *map(len, up[:1]), *map(len, down)])
        assert up
        assert down
    # A hello goes out before the MTU is known; Finished is one record of 74 bytes and is never cut.
    assert largest <= max(mtu, 116)
    assert_joined(client, server)


def test_client_falls_back_to_small_datagrams_after_the_second_timeout() -> None:
    client = make_client()
    assert client._mtu == 1400
    client.on_timeout(3.0)
    assert client._mtu == 1400
    client.on_timeout(9.0)
    assert client._mtu == 508


def test_records_of_a_datagram_in_reverse_order() -> None:
    client, server = make_client(), make_server()
    for _ in range(8):
        for datagram in client.take_output():
            for record in reversed(split_records(datagram)):
                server.receive(record.encode())
        for datagram in server.take_output():
            for record in reversed(split_records(datagram)):
                client.receive(record.encode(), 0.0)
    assert_joined(client, server)


def test_close_notify_ends_the_connection() -> None:
    client, server = make_client(), make_server()
    exchange(client, server)
    assert client.session is not None
    assert server.receive(client.session.close_notify()) == []
    assert server.failed == "peer sent alert 0 (close_notify)"


def test_clear_alerts_after_the_handshake_are_dropped() -> None:
    client, server = make_client(), make_server()
    exchange(client, server)
    server.receive(Record(ContentType.ALERT, 0, 77, b"\x02\x28").encode())
    server.receive(Record(ContentType.APPLICATION, 0, 78, b"clear").encode())
    assert_joined(client, server)


def test_finished_in_clear_is_dropped() -> None:
    client, server = make_client(), make_server()
    finished = hs.HandshakeMessage(hs.HandshakeType.FINISHED, 0, bytes(12))
    server.receive(Record(22, 0, 0, finished.encode()).encode())
    assert server.take_output() == []
    exchange(client, server)
    assert_joined(client, server)


class Channel:
    """Loses, doubles and delays datagrams; time is a number."""

    def __init__(self, seed: int, loss: float) -> None:
        self._random = random_module.Random(seed)
        self._loss = loss
        self._queue: list[tuple[float, int, bool, bytes]] = []
        self._count = 0

    def send(self, datagrams: list[bytes], to_server: bool, now: float) -> None:
        for datagram in datagrams:
            for _ in range(self._random.choice((1, 1, 2))):
                if self._random.random() >= self._loss:
                    self._count += 1
                    arrival = now + self._random.uniform(0.01, 2.0)
                    heapq.heappush(self._queue, (arrival, self._count, to_server, datagram))

    def next_arrival(self) -> float | None:
        return self._queue[0][0] if self._queue else None

    def pop(self) -> tuple[bool, bytes]:
        _, _, to_server, datagram = heapq.heappop(self._queue)
        return to_server, datagram


def run_over(channel: Channel, client: ClientConnection, server: Server) -> None:
    """Run the handshake over ``channel`` until the client has a session or gave up."""
    now = 0.0
    while client.session is None and client.failed is None:
        channel.send(client.take_output(), True, now)
        channel.send(server.take_output(), False, now)
        arrival, deadline = channel.next_arrival(), client.next_timeout()
        assert deadline is not None
        if arrival is not None and arrival <= deadline:
            now = arrival
            to_server, datagram = channel.pop()
            if to_server:
                assert server.receive(datagram) == []
            else:
                assert client.receive(datagram, now) == []
        else:
            now = deadline
            client.on_timeout(now)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), offer_cid=st.booleans(), cookies=st.booleans())
def test_a_doubling_and_reordering_channel(seed: int, offer_cid: bool, cookies: bool) -> None:
    client, server = make_client(offer_cid=offer_cid), make_server() if cookies else bare_server()
    client._mtu = server._mtu = 150
    run_over(Channel(seed, 0.0), client, server)
    assert_joined(client, server)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_losing_channel_either_joins_or_gives_up_by_the_timer(seed: int) -> None:
    client, server = make_client(), make_server()
    run_over(Channel(seed, 0.25), client, server)
    if client.session is None:
        assert client.failed == "no answer from the server: handshake given up"
    else:
        assert_joined(client, server)


def test_most_handshakes_survive_a_quarter_of_all_datagrams_lost() -> None:
    joined = 0
    for seed in range(40):
        client, server = make_client(), make_server()
        run_over(Channel(seed, 0.25), client, server)
        joined += client.session is not None
    # Each of three exchanges may fail four times in a row: about 4 in 5 runs would do by chance alone.
    assert joined >= 32


@settings(max_examples=80, deadline=None)
@given(
    victim=st.integers(0, 5),
    changes=st.lists(st.tuples(st.integers(0, 999), st.integers(0, 255)), min_size=1, max_size=3),
    cut=st.none() | st.integers(0, 999),
)
def test_mutated_datagrams_never_raise(victim: int, changes: list[tuple[int, int]], cut: int | None) -> None:
    client, server = make_client(), make_server()
    count = 0
    for _ in range(4):
        for sender, deliver in ((client, server.receive), (server, lambda d: client.receive(d, 0.0))):
            for datagram in sender.take_output():
                deliver(mutate(datagram, changes, cut) if count == victim else datagram)
                count += 1
    # Where both ends believe in the session it works.
    if client.session is not None and server.session is not None:
        assert_joined(client, server)


def mutate(datagram: bytes, changes: list[tuple[int, int]], cut: int | None) -> bytes:
    mutated = bytearray(datagram)
    for at, value in changes:
        mutated[at % len(datagram)] = value
    return bytes(mutated if cut is None else mutated[: cut % (len(datagram) + 1)])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=120), max_size=6))
def test_garbage_never_disturbs_a_handshake(garbage: list[bytes]) -> None:
    client, server = make_client(), make_server()
    for datagram in garbage:
        assert server.receive(datagram) == []
        assert client.receive(datagram, 0.0) == []
    exchange(client, server)
    assert_joined(client, server)
