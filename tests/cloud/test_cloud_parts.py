"""The cloud's parts on their own: accounts, registry, bus, payloads, names, block assembly."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from hil.cloud.session.blockwise import BlockAssembly
from hil.cloud.state.events import EventBus
from hil.cloud.state.names import device_id_of, is_system_event, subscription_matches
from hil.cloud.state.payload import readable
from hil.cloud.state.registry import Registry, pem_to_spki
from hil.cloud.state.store import Store
from hil.cloud.state.users import Users
from hil.device.keys import generate_device_key, public_der
from hil.device.platforms import Transport
from hil.errors import NotFound, NotOwner, Refused, UsageError, WireError
from hil.wire.coap.message import Block

A, B, C, D = "a" * 24, "b" * 24, "c" * 24, "d" * 18 + "b" * 6


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path)
    yield opened
    opened.close()


# Accounts


def test_passwords_and_tokens(store: Store) -> None:
    users = Users(store)
    user = users.create("ann", "secret")
    assert users.authenticate("ann", "secret") == user
    assert users.authenticate("ann", "wrong") is None
    assert users.authenticate("bob", "secret") is None
    with pytest.raises(Refused, match="already exists"):
        users.create("ann", "other")
    token = users.issue_token(user)
    assert len(token.token) == 40
    assert users.user_for_token(token.token) == user
    assert users.revoke(token.token)
    assert users.user_for_token(token.token) is None
    row = store.one("SELECT password FROM users")
    assert row is not None
    assert b"secret" not in row["password"]


def test_token_lifetimes(store: Store) -> None:
    users = Users(store)
    user = users.ensure("ann")
    token = users.issue_token(user)
    assert token.expires_at is not None
    assert token.expires_at - token.created_at == 7_776_000
    assert users.issue_token(user, 0).expires_at is None
    over = users.issue_token(user, -1)
    assert users.user_for_token(over.token) is None
    assert users.token_info(over.token) == over
    fresh = users.refresh(token.refresh_token)
    assert fresh is not None
    assert users.user_for_token(fresh.token) == user
    assert users.user_for_token(token.token) is None
    assert users.refresh(token.refresh_token) is None


def test_an_account_made_for_its_devices_cannot_log_in_until_it_has_a_password(store: Store) -> None:
    users = Users(store)
    users.ensure("hil")
    assert users.authenticate("hil", "") is None
    users.create("hil", "now")
    assert users.authenticate("hil", "now") is not None


# Registry


def test_a_key_is_one_devices(store: Store) -> None:
    registry = Registry(store)
    key = public_der(generate_device_key(Transport.DTLS))
    registry.register(A, platform_id=12, public_key=key, owner="ann")
    with pytest.raises(Refused, match=A):
        registry.register(B, platform_id=12, public_key=key, owner="ann")
    assert registry.get(B) is None or registry.key_on_file(B, Transport.DTLS) is None
    other = public_der(generate_device_key(Transport.DTLS))
    registry.set_key(A, other)
    assert registry.holder_of(key) is None
    assert Registry(store).key_on_file(A, Transport.DTLS) == other


def test_keys_are_kept_per_transport(store: Store) -> None:
    registry = Registry(store)
    ec, rsa = (public_der(generate_device_key(transport)) for transport in (Transport.DTLS, Transport.TCP))
    registry.register(A, platform_id=10, public_key=ec, owner="ann")
    registry.set_key(A, rsa)
    again = Registry(store)
    assert again.key_on_file(A, Transport.DTLS) == ec
    assert again.key_on_file(A, Transport.TCP) == rsa


def test_ownership(store: Store) -> None:
    registry = Registry(store)
    registry.register(A, platform_id=12, owner="ann", name="door")
    assert registry.find("ann", "door").id == A
    assert registry.find("ann", A.upper()).id == A
    with pytest.raises(NotOwner):
        registry.find("bob", A)
    with pytest.raises(NotFound):
        registry.find("bob", "door")
    with pytest.raises(NotOwner):
        registry.claim("bob", A)
    registry.unclaim("ann", A)
    assert registry.claim("bob", A).owner == "bob"
    assert registry.of_owner("ann") == []


def test_two_devices_of_one_account_never_share_a_name(store: Store) -> None:
    """Issue 6, point 11."""
    registry = Registry(store)
    registry.register(A, platform_id=12, owner="ann", name="door")
    registry.register(B, platform_id=12, owner="bob", name="door")  # another account's business
    registry.register(C, platform_id=12, owner="ann")
    for change in (
        lambda: registry.rename(C, "door"),
        lambda: registry.register(C, platform_id=12, owner="ann", name="door"),
    ):
        with pytest.raises(Refused, match=A):
            change()
    assert registry.require(C).name == C[-6:]
    registry.unclaim("bob", B)
    assert registry.claim("ann", B).name == B[-6:]
    assert Registry(store).require(B).name == B[-6:]
    code = registry.claim_code("ann")
    registry.register(D, platform_id=12, owner="eve", name=B[-6:])
    registry.redeem(code, D)
    assert registry.require(D).name == D[-12:]  # its end in six digits is B's, too


def test_what_cannot_be_registered_leaves_no_trace(store: Store) -> None:
    """Issue 6, point 11: before, a device whose key was refused stayed in memory until the next start."""
    registry = Registry(store)
    key = public_der(generate_device_key(Transport.DTLS))
    registry.register(A, platform_id=12, public_key=key, owner="ann", name="door")
    with pytest.raises(Refused):
        registry.register(B, platform_id=12, public_key=key, owner="ann")
    assert registry.get(B) is None
    assert [device.id for device in Registry(store).all()] == [A]


def test_pem_keys_of_both_kinds() -> None:
    for transport in Transport:
        key = generate_device_key(transport).public_key()
        pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        assert pem_to_spki(pem) == public_der(key)
    with pytest.raises(Refused, match="not a public key"):
        pem_to_spki("-----BEGIN PUBLIC KEY-----\nno\n-----END PUBLIC KEY-----\n")


# Bus


def test_streams_see_their_owner_prefix_and_device_only(store: Store) -> None:
    async def scenario() -> list[list[str]]:
        bus = EventBus(store)
        streams = [
            bus.subscribe("ann"),
            bus.subscribe("ann", "gar"),
            bus.subscribe("ann", device_id=A),
            bus.subscribe("bob"),
            bus.subscribe(None),
        ]
        bus.emit("garden", device_id=A, owner="ann")
        bus.emit("house", device_id=B, owner="ann")
        bus.emit("Garden", device_id=None, owner="bob")
        bus.close()
        return [[event.name async for event in stream] for stream in streams]

    assert asyncio.run(scenario()) == [
        ["garden", "house"],
        ["garden"],
        ["garden"],
        ["Garden"],
        ["garden", "house", "Garden"],
    ]


def test_a_stream_whose_reader_is_too_slow_is_cut_off_and_counted(store: Store) -> None:
    async def scenario() -> None:
        bus = EventBus(store)
        slow, other = bus.subscribe("ann", size=3), bus.subscribe("ann")
        for number in range(5):
            bus.emit(f"event {number}", device_id=None, owner="ann")
        assert slow.dropped
        assert bus.dropped_streams == 1
        assert [event.name async for event in slow] == ["event 0", "event 1", "event 2"]
        assert not other.closed
        bus.close()
        assert len([event async for event in other]) == 5

    asyncio.run(scenario())


def test_events_survive_and_keep_their_order(store: Store) -> None:
    bus = EventBus(store)
    first = bus.emit("a", "1", device_id=A, owner="ann")
    bus.emit("b", device_id=None, owner="ann")
    assert [event.name for event in EventBus(store).journal.since()] == ["a", "b"]
    assert EventBus(store).journal.since()[0] == first
    assert first.published_at_iso.endswith("Z")
    assert len(first.published_at_iso) == len("2026-01-01T00:00:00.000Z")


# Payloads


@given(st.binary(max_size=100), st.sampled_from([None, 0, 22, 23, 42, 50, 60, 65001]))
def test_event_data_can_always_be_shown(data: bytes, content_format: int | None) -> None:
    text = readable(data, content_format)
    assert json.loads(json.dumps({"data": text})) == {"data": text}


def test_binary_data_is_shown_as_a_data_url() -> None:
    assert readable(b"\x89PNG", 23) == "data:image/png;base64,iVBORw=="
    assert readable(b"\x00", 42) == "data:application/octet-stream;base64,AA=="


# Names


@pytest.mark.parametrize(
    ("prefix", "name", "expected"),
    [
        ("gar", "garden", True),
        ("garden", "gar", False),
        ("Gar", "garden", False),
        ("", "garden", True),
        ("spark", "spark/device/last_reset", False),
        ("spark/status", "spark/status", True),
        ("spark/device/reset", "spark/device/reset", False),
        ("", "spark/status", False),
        ("spark", "sparkle", False),
    ],
)
def test_what_a_subscription_gets(prefix: str, name: str, expected: bool) -> None:
    assert subscription_matches(prefix, name) is expected


def test_device_references() -> None:
    class Board:
        device_id = A.upper()

    assert device_id_of(Board()) == device_id_of(A) == A
    with pytest.raises(UsageError, match="24 hex digits"):
        device_id_of("door")
    assert is_system_event("spark/x")
    assert not is_system_event("Spark/x")


# Blocks


@given(st.binary(min_size=1, max_size=3000), st.integers(0, 6))
def test_blocks_give_the_payload_back(payload: bytes, szx: int) -> None:
    assembly = BlockAssembly()
    size = 1 << (szx + 4)
    count = -(-len(payload) // size)
    results = [
        assembly.add(Block(number, number < count - 1, szx), payload[number * size : (number + 1) * size])
        for number in range(count)
    ]
    assert results[:-1] == [None] * (count - 1)
    assert results[-1] == payload


def test_a_block_sent_twice_changes_nothing_and_a_wrong_one_is_an_error() -> None:
    assembly = BlockAssembly()
    assert assembly.add(Block(0, True, 0), bytes(16)) is None
    assert assembly.add(Block(0, True, 0), bytes(16)) is None
    assert assembly.add(Block(1, False, 0), b"end") == bytes(16) + b"end"
    with pytest.raises(WireError, match="out of order"):
        assembly.add(Block(3, True, 0), bytes(16))
    with pytest.raises(WireError, match="wrong size"):
        assembly.add(Block(0, True, 0), bytes(15))
