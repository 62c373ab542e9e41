"""Control requests that read and change configuration: USB fact sheet 4.5, 5.3, protocol fact sheet 11.6."""

from __future__ import annotations

from pathlib import Path

import pytest

from hil.device.keys import ServerAddress, generate_server_ec, private_der, public_der
from hil.device.platforms import Transport
from hil.device.protobuf import Fields, Writer
from tests.virtual.boardbench import BOARDS, Bench

ALL = sorted(BOARDS)
GEN2 = ("photon", "electron")


def test_setup_done(tmp_path: Path) -> None:
    boron = Bench(tmp_path / "boron", "boron")
    assert boron.request(74) == (0, b"")
    assert boron.request(73, b"\x08\x01") == (0, b"")
    assert boron.request(74) == (0, b"\x08\x01")
    argon = Bench(tmp_path / "argon", "argon")
    assert argon.request(74) == (0, b"\x08\x01")
    assert argon.request(73, b"\x08\x01") == (0, b"")


@pytest.mark.parametrize("name", ALL)
def test_claim_code(tmp_path: Path, name: str) -> None:
    bench = Bench(tmp_path, name)
    assert bench.request(201) == (0, b"")
    code = "a" * 63
    assert bench.request(200, Writer().text(1, code).finish()) == (0, b"")
    assert bench.machine.claim_code() == code
    assert bench.request(200, Writer().text(1, "a" * 65).finish()) == (-280, b"")
    assert bench.machine.memories[1].read(1762, 63) == code.encode()


def test_the_cloud_takes_the_claim_code(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.request(200, Writer().text(1, "abc").finish())
    bench.machine.clear_claim_code()
    assert bench.machine.claim_code() is None
    assert bench.machine.memories[1].read(1762, 3) == b"\0bc"
    assert bench.machine.memories[1].read(1825, 1) == b"1"
    assert bench.request(201) == (0, b"\x08\x01")


@pytest.mark.parametrize("name", GEN2)
def test_keys_and_server_of_gen2(tmp_path: Path, name: str) -> None:
    bench = Bench(tmp_path, name)
    key = generate_server_ec()
    assert bench.request(210, Writer().uint(1, 6).data(2, public_der(key)).finish()) == (0, b"")
    assert bench.request(210, Writer().uint(1, 4).data(2, private_der(key)).finish()) == (0, b"")
    assert Fields(bench.request(211, b"\x08\x06")[1]).data(1) == public_der(key).ljust(192, b"\xff")
    assert bench.request(210, Writer().uint(1, 6).data(2, bytes(193)).finish()) == (-190, b"")
    assert bench.request(210, Writer().uint(1, 7).data(2, b"x").finish()) == (-120, b"")
    assert bench.request(220, Writer().uint(1, 2).text(2, "x" * 64).finish()) == (-190, b"")
    assert bench.request(220, Writer().uint(1, 3).text(2, "x").finish()) == (-120, b"")
    assert bench.request(221, b"\x08\x03") == (-120, b"")
    assert bench.machine.memories[1].read(3106, 121) == private_der(key)
    # The vector of USB fact sheet 4.5: hil.local:5684 over UDP.
    assert bench.request(220, bytes.fromhex("0802120968696c2e6c6f63616c18b42c")) == (0, b"")
    address = Fields(bench.request(221, b"\x08\x02")[1])
    assert (address.text(1), address.signed(2)) == ("hil.local", 5684)
    assert bench.machine.memories[1].read(3490, 12) == bytes.fromhex("010968696c2e6c6f63616cff")
    assert bench.machine.memories[1].read(3556, 2) == bytes.fromhex("1634")


def test_softap_name(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "photon")
    assert bench.request(240, Writer().text(1, "Lab").text(2, "AB12").finish()) == (0, b"")
    assert bench.machine.memories[1].read(1826, 5) == b"\x03Lab\xff"
    assert bench.machine.memories[1].read(1852, 6) == b"AB12\0\xff"
    assert bench.request(240, Writer().text(1, "x" * 33).finish()) == (-280, b"")


def test_feature_and_protection(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    assert bench.request(34, b"\x08\x01") == (0, b"")
    assert bench.request(33, b"\x08\x01\x10\x01") == (0, b"")
    assert bench.request(34, b"\x08\x01") == (0, b"\x08\x01")
    assert bench.request(33, b"\x08\x02") == (-120, b"")
    assert bench.request(77, Writer().uint(1, 1).message(2, Writer().data(1, bytes(32))).finish()) == (0, b"")
    assert bench.request(77, b"\x08\x01") == (-270, b"")
    assert bench.request(77, b"\x08\x02") == (-210, b"")
    assert bench.request(77, b"\x08\x03") == (-270, b"")


def test_an_electron_told_to_use_tcp_stays_offline_and_says_why(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "electron")
    assert bench.request(222, b"\x08\x01") == (-120, b"")
    assert "refused: this board speaks udp" in bench.machine.log_lines[-1].replace("dtls", "udp")
    assert bench.request(222, b"\x08\x02") == (0, b"")
    bench.machine.memories[1].program(2977, b"\0")
    bench.board.press_reset()
    bench.clock.advance(0)
    assert bench.cloud.calls == ["start"]
    assert "2977" in bench.machine.log_lines[-1]
    assert bench.request(301) == (-120, b"")
    assert bench.cloud.calls == ["start"]


def test_address_of_udp_boards_always_has_port_5684(tmp_path: Path) -> None:
    argon = Bench(tmp_path / "argon").machine
    argon.settings.set_address(Transport.DTLS, ServerAddress("198.18.0.2", 7000))
    assert argon.server_address() == ServerAddress("198.18.0.2", 5684)
    photon = Bench(tmp_path / "photon", "photon").machine
    photon.settings.set_address(Transport.TCP, ServerAddress("198.18.0.2", 7000))
    assert photon.server_address() == ServerAddress("198.18.0.2", 7000)
    photon.settings.set_address(Transport.TCP, ServerAddress("198.18.0.2"))
    assert photon.server_address() == ServerAddress("198.18.0.2", 5683)
