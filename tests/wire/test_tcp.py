"""TCP handshake and records against Device OS's own unit test and the worked examples 8.1 to 8.3."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.device import keys
from hil.errors import UsageError, WireError
from hil.wire.tcp import handshake as tcp_handshake
from hil.wire.tcp.connection import AuthenticationFailed, DecryptionFailed, TcpClientSession, TcpServerSession
from hil.wire.tcp.records import FrameReader, FrameSealer

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent / "protocol_vectors.json").read_text())
UNIT = VECTORS["tcp_unit_test_vector"]
FULL = VECTORS["tcp_full_handshake"]


def rsa_private(der_hex: str) -> rsa.RSAPrivateKey:
    key = keys.load_private(bytes.fromhex(der_hex))
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


SERVER = rsa_private(FULL["server_private_key_der_pkcs1"])
DEVICE = rsa_private(FULL["device_private_key_der_pkcs1"])
DEVICE_ID = bytes.fromhex(FULL["device_id"])
CREDENTIALS = bytes.fromhex(FULL["session_credentials_40"])
SPKI = bytes.fromhex(FULL["device_public_key_spki_162"])


def recorded(*values: bytes) -> Callable[[int], bytes]:
    """A source of "random" bytes that gives ``values`` in turn."""
    queue = list(values)

    def take(size: int) -> bytes:
        value = queue.pop(0)
        assert len(value) == size
        return value

    return take


def server_session(accept: Callable[[bytes, bytes], bool] = lambda _id, _key: True) -> TcpServerSession:
    return TcpServerSession(
        SERVER, accept, random=recorded(bytes.fromhex(FULL["nonce"]), CREDENTIALS, CREDENTIALS)
    )


def joined() -> tuple[TcpServerSession, TcpClientSession]:
    server = server_session()
    client = TcpClientSession(DEVICE, DEVICE_ID, SERVER.public_key())
    assert client.receive(server.start()) == []
    assert server.receive(client.take_output()) == []
    assert client.receive(server.take_output()) == []
    assert server.established
    assert client.established
    return server, client


def test_unit_test_vector_of_device_os() -> None:
    device = rsa_private(UNIT["device_private_key_der"])
    server_key = keys.load_public(bytes.fromhex(UNIT["server_public_key_der"]))
    assert isinstance(server_key, rsa.RSAPublicKey)
    client = TcpClientSession(device, bytes.fromhex(UNIT["device_id"]), server_key)
    client.receive(bytes.fromhex(UNIT["nonce"]))
    assert len(client.take_output()) == 256
    client.receive(bytes.fromhex(UNIT["encrypted_session_block_128"] + UNIT["signature_256"]))
    assert client.salt.hex() == "c57694fc1f3b7d72"
    assert client.first_mid == 0x76C6
    assert client.seal(bytes.fromhex("500276c6b168ff0006ffff00360006")).hex() == (
        "0010804a4a2a52ff2244b2648ce46d891671"
    )
    assert client.seal(bytes.fromhex("400076c7")).hex() == "001046989881e2f8e5542387087031c87959"
    frame = bytes.fromhex("00100df50496d050d717c9f2032dd0241b93")
    assert client.receive(frame) == [bytes.fromhex("500211b8b168")]


def test_unit_test_vector_credentials_and_mac() -> None:
    device = rsa_private(UNIT["device_private_key_der"])
    server_key = keys.load_public(bytes.fromhex(UNIT["server_public_key_der"]))
    assert isinstance(server_key, rsa.RSAPublicKey)
    block = bytes.fromhex(UNIT["encrypted_session_block_128"])
    signature = bytes.fromhex(UNIT["signature_256"])
    credentials = tcp_handshake.open_reply(device, server_key, block + signature)
    mac = bytes.fromhex(UNIT["expect"]["hmac_sha1_20"])
    assert credentials.raw.hex() == UNIT["expect"]["credentials_40"]
    assert tcp_handshake.credentials_mac(credentials, block) == mac
    n = server_key.public_numbers().n
    typed_block = pow(int.from_bytes(signature, "big"), 65537, n).to_bytes(256, "big")
    assert typed_block == b"\x00\x01" + b"\xff" * 233 + b"\x00" + mac


def test_aes_vector_of_device_os() -> None:
    sealer = FrameSealer(
        bytes.fromhex("508e8afd7873233867d656c0ca46048e"), bytes.fromhex("0abb06e39bc57e2c9bce0bdfc552c82d")
    )
    assert sealer.seal(b"Super secret message\n").hex() == (
        "0020cf0507476764158c7b63d04c9d17e012c2c184105bdd5e36b8ad8f61db7e85d1"
    )


def test_server_against_the_recorded_device() -> None:
    seen: list[tuple[bytes, bytes]] = []

    def accept(device_id: bytes, spki: bytes) -> bool:
        seen.append((device_id, spki))
        return True

    server = server_session(accept)
    assert server.start().hex() == FULL["nonce"]
    request = bytes.fromhex(FULL["device_to_server_256 (random padding)"])
    assert server.receive(request[:100]) == []
    assert server.take_output() == b""
    assert server.receive(request[100:]) == []
    assert seen == [(DEVICE_ID, SPKI)]
    reply = server.take_output()
    assert len(reply) == 384
    assert DEVICE.decrypt(reply[:128], padding.PKCS1v15()) == CREDENTIALS
    assert server.receive(bytes.fromhex(FULL["device_frame_1"] + FULL["device_frame_2"])) == [
        bytes.fromhex(FULL["device_hello_coap"]),
        bytes.fromhex(FULL["device_event_coap"]),
    ]
    assert server.seal(bytes.fromhex(FULL["server_hello_coap"])).hex() == FULL["server_frame_1"]
    assert server.seal(bytes.fromhex(FULL["server_ping_ack_coap"])).hex() == FULL["server_frame_2"]


def test_client_against_the_recorded_server() -> None:
    client = TcpClientSession(DEVICE, DEVICE_ID, SERVER.public_key())
    client.receive(bytes.fromhex(FULL["nonce"]))
    request = tcp_handshake.open_request(SERVER, bytes.fromhex(FULL["nonce"]), client.take_output())
    assert request == tcp_handshake.Request(DEVICE_ID, SPKI)
    client.receive(bytes.fromhex(FULL["server_block_128 (random padding)"] + FULL["signature_256"]))
    assert client.first_mid == FULL["first_device_message_id"]
    assert client.seal(bytes.fromhex(FULL["device_hello_coap"])).hex() == FULL["device_frame_1"]
    assert client.seal(bytes.fromhex(FULL["device_event_coap"])).hex() == FULL["device_frame_2"]
    frames = bytes.fromhex(FULL["server_frame_1"] + FULL["server_frame_2"])
    assert client.receive(frames[:1]) == []
    assert client.receive(frames[1:]) == [
        bytes.fromhex(FULL["server_hello_coap"]),
        bytes.fromhex(FULL["server_ping_ack_coap"]),
    ]


def test_recorded_mac_and_signature() -> None:
    block = bytes.fromhex(FULL["server_block_128 (random padding)"])
    mac = tcp_handshake.credentials_mac(tcp_handshake.Credentials(CREDENTIALS), block)
    assert mac.hex() == FULL["hmac"]
    assert tcp_handshake.sign_mac(SERVER, mac).hex() == FULL["signature_256"]


def test_iv_after_a_long_record_is_its_first_block() -> None:
    """After the 48-byte record of 8.3 the next IV is that record's first block, not its last."""
    key, first_iv = CREDENTIALS[:16], CREDENTIALS[16:32]
    sealer, reader = FrameSealer(key, first_iv), FrameReader(key, first_iv)
    for message, frame in (("hello", "1"), ("event", "2")):
        assert (
            sealer.seal(bytes.fromhex(FULL[f"device_{message}_coap"])).hex() == FULL[f"device_frame_{frame}"]
        )
        assert reader.read(bytearray.fromhex(FULL[f"device_frame_{frame}"])) != []
    ping = bytes.fromhex("4000c1c3")
    next_iv = bytes.fromhex(FULL["device_frame_2"])[2:18]
    encryptor = Cipher(algorithms.AES128(key), modes.CBC(next_iv)).encryptor()
    expected = b"\x00\x10" + encryptor.update(ping + b"\x0c" * 12) + encryptor.finalize()
    assert sealer.seal(ping) == expected
    assert reader.read(bytearray(expected)) == [ping]


def test_frames_byte_by_byte() -> None:
    server, client = joined()
    stream = client.seal(b"one") + client.seal(b"x" * 48)
    got = [message for byte in stream for message in server.receive(bytes([byte]))]
    assert got == [b"one", b"x" * 48]


def test_refused_device_gets_no_reply() -> None:
    server = server_session(lambda _id, _key: False)
    client = TcpClientSession(DEVICE, DEVICE_ID, SERVER.public_key())
    client.receive(server.start())
    server.receive(client.take_output())
    assert server.refusal is not None
    assert "does not accept" in server.refusal
    assert server.take_output() == b""
    assert not server.established


def test_wrong_nonce_and_garbage_are_refused() -> None:
    client = TcpClientSession(DEVICE, DEVICE_ID, SERVER.public_key())
    client.receive(b"\x55" * 40)
    for request in (client.take_output(), b"\x00" * 256, b"\xff" * 256):
        server = server_session()
        server.start()
        assert server.receive(request) == []
        assert server.refusal is not None
        assert server.take_output() == b""


def test_old_core_request_without_a_key() -> None:
    nonce = bytes.fromhex(FULL["nonce"])
    request = SERVER.public_key().encrypt(nonce + DEVICE_ID, padding.PKCS1v15())
    server = server_session()
    server.start()
    server.receive(request)
    assert server.refusal == "the device sent no public key and none is stored for it"
    known = TcpServerSession(
        SERVER,
        lambda _id, spki: spki == SPKI,
        stored_key={DEVICE_ID: SPKI}.get,
        random=recorded(nonce, CREDENTIALS),
    )
    known.start()
    known.receive(request)
    assert known.established
    assert known.device_id == DEVICE_ID


def test_client_tells_wrong_device_key_from_wrong_server_key() -> None:
    reply = bytes.fromhex(FULL["server_block_128 (random padding)"] + FULL["signature_256"])
    other_device = TcpClientSession(
        rsa_private(UNIT["device_private_key_der"]), DEVICE_ID, SERVER.public_key()
    )
    other_device.receive(bytes.fromhex(FULL["nonce"]))
    with pytest.raises(DecryptionFailed):
        other_device.receive(reply)
    other_server = keys.load_public(bytes.fromhex(UNIT["server_public_key_der"]))
    assert isinstance(other_server, rsa.RSAPublicKey)
    client = TcpClientSession(DEVICE, DEVICE_ID, other_server)
    client.receive(bytes.fromhex(FULL["nonce"]))
    with pytest.raises(AuthenticationFailed):
        client.receive(reply)
    tampered = TcpClientSession(DEVICE, DEVICE_ID, SERVER.public_key())
    tampered.receive(bytes.fromhex(FULL["nonce"]))
    with pytest.raises(AuthenticationFailed):
        tampered.receive(reply[:-1] + bytes([reply[-1] ^ 1]))


def test_a_broken_record_ends_the_session() -> None:
    server, client = joined()
    frame = client.seal(b"hello")
    with pytest.raises(WireError):
        server.receive(b"\x00\x11" + frame)
    assert server.refusal is not None
    assert server.receive(frame) == []


def test_sealing_before_the_handshake_is_the_callers_mistake() -> None:
    with pytest.raises(UsageError):
        server_session().seal(b"")


@settings(max_examples=40)
@given(st.lists(st.binary(min_size=1, max_size=400), max_size=6))
def test_server_session_survives_garbage(chunks: list[bytes]) -> None:
    server = server_session()
    server.start()
    for chunk in chunks:
        assert server.receive(chunk) == []
    assert not server.established


@given(st.binary(max_size=200))
def test_frame_reader_raises_only_wire_errors(data: bytes) -> None:
    try:
        FrameReader(CREDENTIALS[:16], CREDENTIALS[16:32]).read(bytearray(data))
    except WireError:
        return


@given(st.lists(st.binary(max_size=80), max_size=6))
def test_records_survive_the_round_trip(messages: list[bytes]) -> None:
    sealer = FrameSealer(CREDENTIALS[:16], CREDENTIALS[16:32])
    reader = FrameReader(CREDENTIALS[:16], CREDENTIALS[16:32])
    stream = bytearray(b"".join(sealer.seal(message) for message in messages))
    assert reader.read(stream) == messages
