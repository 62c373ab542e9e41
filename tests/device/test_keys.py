"""Key encodings against the protocol fact sheet 1.1, 2.3, 10 and the USB fact sheet 5.4."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from hil.device import keys, platforms
from hil.device.platforms import Transport
from hil.errors import UsageError, WireError

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "wire" / "protocol_vectors.json").read_text()
)
TCP_DEVICE = bytes.fromhex(VECTORS["tcp_full_handshake"]["device_private_key_der_pkcs1"])
TCP_UNIT_DEVICE = bytes.fromhex(VECTORS["tcp_unit_test_vector"]["device_private_key_der"])
DTLS = VECTORS["dtls_with_cid (Device OS >= 3.1)"]
PHOTON = platforms.by_name("photon")
ARGON = platforms.by_name("argon")


def numbers_of(der: bytes) -> tuple[int, ...]:
    key = keys.load_private(der)
    assert isinstance(key, rsa.RSAPrivateKey)
    n = key.private_numbers()
    return (n.public_numbers.n, n.public_numbers.e, n.d, n.p, n.q, n.dmp1, n.dmq1, n.iqmp)


def board_numbers_of(der: bytes) -> tuple[int, ...]:
    n = keys.device_parse_rsa(der)
    return (n.n, n.e, n.d, n.p, n.q, n.dmp1, n.dmq1, n.iqmp)


@pytest.mark.parametrize("der", [TCP_DEVICE, TCP_UNIT_DEVICE], ids=["full", "unit-test"])
def test_board_reads_the_vector_keys_as_asn1_does(der: bytes) -> None:
    assert board_numbers_of(der) == numbers_of(der)


def test_generated_rsa_keys_are_what_the_board_reads() -> None:
    for _ in range(8):
        key = keys.generate_device_key(PHOTON)
        assert isinstance(key, rsa.RSAPrivateKey)
        der = keys.private_der(key)
        assert 600 <= len(der) <= keys.DEVICE_RSA_SLOT
        assert board_numbers_of(der.ljust(612, b"\xff")) == numbers_of(der)
        assert keys.device_public_from_private_der(der) == keys.public_der(key)


def test_keys_that_the_board_misreads_are_called_unsuitable() -> None:
    while True:
        key = rsa.generate_private_key(65537, 1024)
        der = keys.private_der(key)
        if board_numbers_of(der) != numbers_of(der):
            break
    assert not keys.rsa_key_suits_board(key)


def test_a_shorter_number_shifts_the_boards_reading() -> None:
    """The board takes an even length byte as full length: a 63-byte coefficient is read one byte too far."""
    der = bytearray(TCP_DEVICE)
    shifted = bytes(der[:-65]) + bytes([0x3E]) + bytes(der[-62:])
    assert keys.device_parse_rsa(shifted).iqmp != keys.device_parse_rsa(TCP_DEVICE).iqmp


def test_public_keys_of_the_vectors() -> None:
    full = VECTORS["tcp_full_handshake"]
    assert keys.device_public_from_private_der(TCP_DEVICE).hex() == full["device_public_key_spki_162"]
    assert keys.public_der(keys.load_private(TCP_DEVICE)).hex() == full["device_public_key_spki_162"]
    for side in ("device", "server"):
        private = bytes.fromhex(DTLS[f"{side}_priv_der"])
        key = keys.load_private(private.ljust(192, b"\xff"))
        assert keys.public_der(key).hex() == DTLS[f"{side}_spki"]
        assert keys.private_der(key) == private


def test_sizes_and_kinds_of_generated_keys() -> None:
    device = keys.generate_device_key(Transport.DTLS)
    assert isinstance(device, ec.EllipticCurvePrivateKey)
    assert len(keys.private_der(device)) == 121
    assert len(keys.public_der(device)) == 91
    assert len(keys.public_der(keys.generate_server_rsa())) == 294


def test_load_public_ignores_padding_and_refuses_other_curves() -> None:
    spki = bytes.fromhex(DTLS["server_spki"])
    assert keys.public_der(keys.load_public(spki.ljust(192, b"\xff"))) == spki
    other = ec.generate_private_key(ec.SECP384R1())
    with pytest.raises(WireError, match="wrong kind"):
        keys.load_public(keys.public_der(other))
    with pytest.raises(WireError, match="wrong kind"):
        keys.load_private(keys.private_der(other))


def test_udp_server_record_with_an_address() -> None:
    spki = bytes.fromhex(DTLS["server_spki"])
    record = keys.server_record(ARGON, spki, keys.ServerAddress("192.168.1.10", 5684))
    assert len(record) == 320
    assert record[:91] == spki
    assert record[91:192] == b"\xff" * 101
    assert record[192:200].hex() == "0004c0a8010affff"
    assert record[258:260].hex() == "1634"
    assert record[260:] == b"\xff" * 60
    assert keys.parse_server_record(ARGON, record) == (spki, keys.ServerAddress("192.168.1.10", 5684))


@pytest.mark.parametrize(("name", "size"), [("photon", 512), ("core", 2048)])
def test_tcp_server_record_with_a_domain(name: str, size: int) -> None:
    spki = bytes.fromhex(VECTORS["tcp_unit_test_vector"]["server_public_key_der"])
    platform = platforms.by_name(name)
    record = keys.server_record(platform, spki, keys.ServerAddress("hil.local"))
    assert len(record) == size
    assert record[:294] == spki
    assert record[384:396].hex() == "010968696c2e6c6f63616cff"
    assert record[450:452] == b"\xff\xff"
    assert keys.parse_server_record(platform, record) == (spki, keys.ServerAddress("hil.local", None))


def test_device_id_in_a_domain() -> None:
    address = keys.ServerAddress("$id.udp.particle.io")
    assert keys.ServerAddress.decode_record(address.encode_record()) == address
    host = address.host_for("e00fce68aabbccddeeff0011", 6)
    assert host == "e00fce68aabbccddeeff0011.v6.udp.particle.io"


@pytest.mark.parametrize("host", ["", "a" * 64, "with space", "grüße.example"])
def test_hosts_that_do_not_fit_a_record(host: str) -> None:
    with pytest.raises(UsageError):
        keys.ServerAddress(host).encode_record()


@pytest.mark.parametrize("port", [0, 65535, 65536])
def test_ports_that_a_record_cannot_hold(port: int) -> None:
    with pytest.raises(UsageError):
        keys.ServerAddress("10.0.0.1", port).encode_record()


def test_server_record_refuses_the_other_transports_key() -> None:
    with pytest.raises(UsageError, match="wrong server key"):
        keys.server_record(PHOTON, bytes.fromhex(DTLS["server_spki"]), keys.ServerAddress("10.0.0.1"))


@given(st.binary(max_size=700))
def test_parsers_raise_only_wire_errors_on_garbage(data: bytes) -> None:
    for parse in (
        keys.load_private,
        keys.load_public,
        keys.device_parse_rsa,
        keys.device_public_from_private_der,
        keys.ServerAddress.decode_record,
        lambda raw: keys.parse_server_record(ARGON, raw),
    ):
        try:
            parse(data)
        except WireError:
            continue


@given(st.sampled_from([TCP_DEVICE, bytes.fromhex(DTLS["server_spki"])]), st.data())
def test_parsers_raise_only_wire_errors_on_mutations(der: bytes, data: st.DataObject) -> None:
    mutated = bytearray(der)
    for _ in range(data.draw(st.integers(1, 4))):
        mutated[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    for parse in (keys.load_private, keys.load_public, keys.device_parse_rsa):
        try:
            parse(bytes(mutated))
        except WireError:
            continue
