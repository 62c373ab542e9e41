"""Keys and server address: offsets and records of USB fact sheet 5.3 and 5.4."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from hil.device import keys
from hil.device.platforms import UsbMode
from hil.errors import ProvisionError, UsageError
from hil.usb.dfu import Outcome
from tests.rig.memory_bench import ARGON, PHOTON, Bench


@dataclass(frozen=True)
class ServerKeys:
    rsa_public_der: bytes
    ec_public_der: bytes


SERVER = ServerKeys(keys.public_der(keys.generate_server_rsa()), keys.public_der(keys.generate_server_ec()))


def test_a_udp_board_gets_key_and_address_as_one_record(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, [ARGON])
    there = bench.boards["1-3"]
    device = keys.generate_device_key(bench.board(ARGON).platform)
    there.dct[3106 : 3106 + 121] = keys.private_der(device)
    report = bench.board(ARGON).provision(SERVER, "192.168.1.10")
    assert report.public_key == keys.public_der(device)
    assert report.written == ("server record",)
    record = bytes(there.dct[3298 : 3298 + 320])
    assert record[:91] == SERVER.ec_public_der
    assert record[192:199].hex() == "0004c0a8010aff"
    assert record[258:260].hex() == "1634"
    assert there.mode is UsbMode.NORMAL


def test_a_tcp_board_gets_an_rsa_record_and_its_key_is_read_as_the_board_reads_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(monkeypatch, [PHOTON])
    there = bench.boards["1-1"]
    device = keys.private_der(keys.generate_device_key(bench.board(PHOTON).platform))
    there.dct[34 : 34 + len(device)] = device
    report = bench.board(PHOTON).provision(SERVER, keys.ServerAddress("hil.local", 5683))
    assert report.public_key == keys.device_public_from_private_der(device)
    record = bytes(there.dct[2082 : 2082 + 512])
    assert record[:294] == SERVER.rsa_public_der
    assert record[384:395] == b"\x01\x09hil.local"
    assert int.from_bytes(record[450:452], "big") == 5683


@pytest.mark.parametrize("table", [ARGON, PHOTON])
def test_a_blank_board_gets_a_key_of_its_own_once(monkeypatch: pytest.MonkeyPatch, table: object) -> None:
    chosen = ARGON if table is ARGON else PHOTON
    bench = Bench(monkeypatch, [chosen])
    board = bench.board(chosen)
    first = board.provision(SERVER, "198.18.0.2")
    assert first.written == ("device key", "server record")
    again = bench.board(chosen).provision(SERVER, "198.18.0.2")
    assert again == type(again)(first.public_key, ())
    writes = [call for call in bench.boards[chosen.port].dfu_calls if call[-1] == "-D"]
    assert len(writes) == 2
    assert bench.board(chosen).public_key() == first.public_key


def test_the_first_read_may_fail_once(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, [ARGON])
    bench.boards["1-3"].failing_reads = 1
    assert bench.board(ARGON).provision(SERVER, "198.18.0.2").public_key


def test_a_board_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, [ARGON])
    bench.boards["1-3"].failing_reads = 2
    with pytest.raises(
        ProvisionError, match=r"keys of argon-1 \(argon at USB port 1-3\).*cannot read 192 bytes"
    ):
        bench.board(ARGON).provision(SERVER, "198.18.0.2")


def test_what_is_not_read_back_as_written_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, [ARGON])
    monkeypatch.setattr(
        bench.boards["1-3"], "_download", lambda *_: Outcome(0, "File downloaded successfully")
    )
    with pytest.raises(ProvisionError, match="argon-1 did not keep its device key"):
        bench.board(ARGON).provision(SERVER, "198.18.0.2")


def test_a_udp_board_has_no_choice_of_port(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, [ARGON])
    with pytest.raises(UsageError, match="UDP boards ignore the port"):
        bench.board(ARGON).provision(SERVER, keys.ServerAddress("198.18.0.2", 15684))
    assert bench.boards["1-3"].dfu_calls == []


def test_reading_the_key_leaves_the_board_in_its_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, [ARGON])
    there = bench.boards["1-3"]
    there.dct[3106 : 3106 + 121] = keys.private_der(keys.generate_device_key(there.platform))
    board = bench.board(ARGON)
    assert len(board.public_key()) == 91
    modes = [there.mode]
    there.restart(UsbMode.DFU)
    assert len(bench.board(ARGON).public_key()) == 91
    assert [*modes, there.mode] == [UsbMode.NORMAL, UsbMode.DFU]


def test_a_blank_board_has_no_public_key(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, [PHOTON])
    with pytest.raises(ProvisionError, match="no device key"):
        bench.board(PHOTON).public_key()
