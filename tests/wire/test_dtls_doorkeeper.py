"""The doorkeeper: cookies without state, hellos in pieces, and what nobody may gain from it.

Facts: RFC 6347 4.2.1, protocol fact sheet 2.4. The hello is the captured one of fact sheet 8.4, cut as said there.
"""

from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.device import keys
from hil.wire.dtls import ClientConnection, Doorkeeper, ProvedHello, classify
from hil.wire.dtls import handshake_messages as hs
from hil.wire.dtls.handshake_messages import HandshakeMessage
from hil.wire.dtls.records import Record, split_records
from tests.wire.dtls_front import ADDRESS, NOW, FrontedServer

RANDOM = bytes.fromhex("acfba0ebb779247223924880c5a6a785b7d78c90e4ab63445266e39c3325f95e")
KEY = keys.generate_server_ec()


def body(cookie: bytes = b"", *, random: bytes = RANDOM) -> bytes:
    return hs.device_client_hello(random, cookie, offer_cid=True)


def hello(of: bytes, number: int = 0, sequence: int = 0) -> bytes:
    return Record(22, 0, number, HandshakeMessage(1, sequence, of).encode()).encode()


def pieces(of: bytes, size: int, sequence: int = 0) -> list[bytes]:
    message = HandshakeMessage(1, sequence, of)
    return [
        Record(22, 0, number, message.fragment(start, size)).encode()
        for number, start in enumerate(range(0, len(of), size))
    ]


class Door:
    """A doorkeeper with a clock, asked by whoever is said."""

    def __init__(self) -> None:
        self.keeper = Doorkeeper(b"secret")
        self.now = NOW

    def ask(self, datagram: bytes, address: tuple[str, int] = ADDRESS) -> ProvedHello | bytes | None:
        return self.keeper.judge(classify(datagram), address, self.now)

    def cookie(self, datagram: bytes, address: tuple[str, int] = ADDRESS) -> bytes:
        answer = self.ask(datagram, address)
        assert isinstance(answer, bytes)
        (record,) = split_records(answer)
        assert record.fragment[0] == hs.HandshakeType.HELLO_VERIFY_REQUEST
        return hs.parse_hello_verify_request(record.fragment[12:])


def test_a_request_takes_both_numbers_of_the_hello_over() -> None:
    """Issue 6, point 1; RFC 6347 4.2.1: who keeps no state cannot count."""
    door = Door()
    for number, sequence in ((0, 0), (7, 0), (3, 1), ((1 << 48) - 1, 200)):
        answer = door.ask(hello(body(b"of another cloud"), number, sequence))
        assert isinstance(answer, bytes)
        (record,) = split_records(answer)
        (message,) = hs.parse_fragments(record.fragment)
        assert (record.sequence, message.sequence) == (number, sequence)
        assert answer[25:28] == b"\xfe\xfd\x20"


def test_a_repeated_hello_gets_the_same_cookie() -> None:
    door = Door()
    assert door.cookie(hello(body())) == door.cookie(hello(body(), 5))


def test_a_good_cookie_proves_and_the_hello_is_handed_on_whole() -> None:
    door = Door()
    second = hello(body(door.cookie(hello(body()))), 1, 1)
    proved = door.ask(second)
    assert isinstance(proved, ProvedHello)
    assert (proved.random, proved.number, proved.message.sequence) == (RANDOM, 1, 1)
    assert proved.datagram() == second


def test_a_cookie_is_for_one_address_and_one_hello() -> None:
    """RFC 6347 4.2.1: address, version, random, session id, suites and compression; not the extensions."""
    door = Door()
    cookie = door.cookie(hello(body()))
    good = body(cookie)
    suites_at = 2 + 32 + 1 + 1 + 32 + 2
    assert good[suites_at : suites_at + 6].hex() == "c0ae00ff0100"
    for at, changed in ((0, b"\xfe\xff"), (2, b"\x00"), (suites_at, b"\xc0\xac"), (suites_at + 5, b"\x01")):
        other = good[:at] + changed + good[at + len(changed) :]
        assert isinstance(door.ask(hello(other, 1, 1)), bytes)
    with_session = good[:34] + b"\x01s" + good[35:]
    assert isinstance(door.ask(hello(with_session, 1, 1)), bytes)
    for address in ((ADDRESS[0], ADDRESS[1] + 1), ("192.0.2.70", ADDRESS[1])):
        assert isinstance(door.ask(hello(good, 1, 1), address), bytes)
    assert isinstance(door.ask(hello(good[:-1] + b"\x03", 1, 1)), ProvedHello)


def test_a_cookie_is_good_for_all_of_a_flights_45_seconds_and_not_for_five_minutes() -> None:
    door = Door()
    for start in range(0, 240, 7):
        door.now = NOW + start
        second = hello(body(door.cookie(hello(body()))), 1, 1)
        door.now += 45
        assert isinstance(door.ask(second), ProvedHello)
        door.now += 255
        assert isinstance(door.ask(second), bytes)


def test_the_cookies_of_a_process_before_are_taken() -> None:
    second = hello(body(Door().cookie(hello(body()))), 1, 1)
    assert isinstance(Door().ask(second), ProvedHello)


def test_no_answer_is_longer_than_what_it_answers() -> None:
    """Issue 6, point 1: nobody gains by having the cloud answer somebody else."""
    shortest = b"\xfe\xfd" + bytes(32) + b"\x00\x00" + b"\x00\x00" + b"\x00"
    door = Door()
    for each in (hello(shortest), hello(body()), hello(body(b"x" * 255))):
        answer = door.ask(each)
        assert isinstance(answer, bytes)
        assert len(answer) <= len(each)


@pytest.mark.parametrize("size", [1, 16, 60, 90])
def test_a_hello_in_pieces_is_answered_once_and_proves_as_well(size: int) -> None:
    """Issue 6, point 1: an honest client may fragment its hello."""
    door = Door()
    answers = [door.ask(each) for each in reversed(pieces(body(), size))]
    assert [answer is None for answer in answers] == [True] * (len(answers) - 1) + [False]
    assert answers[-1] == door.ask(hello(body()))
    judged = [door.ask(each) for each in pieces(body(door.cookie(hello(body()))), size, 1)]
    assert judged[:-1] == [None] * (len(judged) - 1)
    assert isinstance(judged[-1], ProvedHello)
    assert judged[-1].message.body == body(door.cookie(hello(body())))


def test_pieces_of_two_clients_are_kept_apart() -> None:
    door = Door()
    left, right = pieces(body(), 60), pieces(body(random=bytes(32)), 60)
    there = ("192.0.2.8", 1)
    assert door.ask(left[0]) is None
    assert door.ask(right[0], there) is None
    for address, piece, random in ((ADDRESS, left[1], RANDOM), (there, right[1], bytes(32))):
        answer = door.ask(piece, address)
        assert answer == door.ask(hello(body(random=random), 1), address)


def test_a_client_that_starts_anew_half_way_through_is_not_held_up() -> None:
    door = Door()
    door.ask(pieces(body(), 60)[0])
    longer = body() + bytes(4)
    first, second = pieces(longer, 60)
    assert door.ask(first) is None
    assert isinstance(door.ask(second), bytes)


def held(thing: Any, seen: set[int] | None = None) -> int:
    """Bytes that ``thing`` holds, with all that it refers to."""
    seen = set() if seen is None else seen
    if id(thing) in seen or isinstance(thing, type):
        return 0
    seen.add(id(thing))
    parts: list[Any] = []
    if isinstance(thing, dict):
        parts = [*thing.keys(), *thing.values()]
    elif isinstance(thing, list | tuple | set):
        parts = list(thing)
    elif hasattr(thing, "__dict__"):
        parts = [vars(thing)]
    return sys.getsizeof(thing) + sum(held(part, seen) for part in parts)


def test_hellos_and_pieces_without_a_cookie_leave_at_most_a_megabyte() -> None:
    """Issue 6, point 1: 20,000 pieces cost 1.3 GB before."""
    door = Door()
    for number in range(20_000):
        address = (f"10.0.{number >> 8}.{number & 255}", 5000)
        assert door.ask(pieces(bytes(1024), 500)[0], address) is None
        assert door.ask(pieces(bytes(4096), 500)[0], address) is None
    for number in range(200):
        door.ask(hello(body()), ("192.0.2.9", number))
    assert held(door.keeper) < 1_000_000


def test_nothing_larger_than_a_hello_is_put_together() -> None:
    """Issue 6, point 1: each piece may announce 16 MB."""
    door = Door()
    for size in (1025, 4096, 65_000):
        large = body() + bytes(size - len(body()))
        assert door.ask(hello(large)) is None
        for each in pieces(large, 1000):
            assert door.ask(each) is None


def test_a_client_that_is_asked_twice_asks_twice() -> None:
    """Its cookie was too old, or meant for the client that had its address before."""
    client = ClientConnection(KEY, KEY.public_key(), offer_cid=True)
    client.start(0.0)
    one = FrontedServer(KEY, cid=bytes(8), accept_key=lambda _spki: True, secret=b"one")
    two = FrontedServer(KEY, cid=bytes(8), accept_key=lambda _spki: True, secret=b"two")
    for server in (one, two):
        (said,) = client.take_output()
        server.receive(said)
        assert server.connection is None
        (request,) = server.take_output()
        client.receive(request, 0.0)
    (third,) = client.take_output()
    two.receive(third)
    assert two.connection is not None
    (answer,) = two.take_output()
    record = split_records(answer)[0]
    assert (record.fragment[0], record.sequence, record.fragment[4:6]) == (2, 2, b"\x00\x02")


@given(st.binary(max_size=200), st.integers(0, 64), st.data())
def test_whatever_comes_the_doorkeeper_only_looks(data: bytes, at: int, draw: st.DataObject) -> None:
    """Issue 6, point 1: garbage never raises and never proves."""
    door = Door()
    good = hello(body(door.cookie(hello(body()))), 1, 1)
    mutated = bytearray(good)
    mutated[13 + draw.draw(st.integers(0, len(good) - 14))] ^= draw.draw(st.integers(1, 255))
    for datagram in (data, hello(data), good[:13] + data, good[: 25 + at] + data, bytes(mutated)):
        judged = door.ask(datagram)
        assert not isinstance(judged, bytes) or len(judged) == 60
        if isinstance(judged, ProvedHello):
            # Only what the cookie does not cover was changed: the record's number, the extensions.
            assert judged.message.body[:76] == good[25:101]
