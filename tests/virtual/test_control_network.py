"""Control requests about Wi-Fi, interfaces and SIMs of Gen 3 boards: USB fact sheet 4.5, protocol fact sheet 11.6."""

from __future__ import annotations

from pathlib import Path

import pytest

from hil.device.protobuf import Fields, Writer
from hil.virtual.hardware.stored import WifiNetwork
from tests.virtual.boardbench import Bench

# The vector of USB fact sheet 4.5: network "lab", WPA2, "password"; and the network that is in the air.
LAB = bytes.fromhex("0a036c61621803220c0801120870617373776f7264")
RACK = Writer().text(1, "hil-rack").uint(3, 3).message(4, Writer().uint(1, 1).text(2, "other")).finish()


def known(bench: Bench) -> list[str]:
    """The SSIDs that the board lists."""
    return [Fields(entry).text(1) for entry in Fields(bench.request(502)[1]).all(1)]


def test_wifi_networks_of_an_argon(tmp_path: Path) -> None:
    """Issue 6, point 12: a board that is online knows the network that it is on."""
    bench = Bench(tmp_path)
    assert known(bench) == ["hil-rack"]
    assert bench.request(507, LAB) == (0, b"")
    assert bench.request(507, LAB) == (0, b"")
    assert bench.machine.stored.networks[1:] == [WifiNetwork("lab", 3, "password")]
    assert Fields(bench.request(502)[1]).all(1)[1] == bytes.fromhex("0a036c6162 1003 1801")
    assert bench.request(503, b"\x0a\x03lab") == (0, b"")
    assert bench.request(503, b"\x0a\x03lab") == (0, b"")
    assert known(Bench(tmp_path)) == ["hil-rack"]
    enterprise = Writer().text(1, "lab").message(4, Writer().uint(1, 2)).finish()
    assert bench.request(500, enterprise) == (-120, b"")


def test_joining_what_is_not_in_the_air_fails_and_stores_nothing(tmp_path: Path) -> None:
    """Issue 6, point 12."""
    bench = Bench(tmp_path)
    assert bench.request(501, b"\x0a\x03lab") == (-170, b"")
    assert bench.request(500, LAB) == (-170, b"")
    assert known(bench) == ["hil-rack"]
    bench.request(507, LAB)
    assert bench.request(501, b"\x0a\x03lab") == (-170, b"")
    assert Fields(bench.request(505)[1]).text(1) == "hil-rack"


def test_what_was_joined_last_is_first_and_a_full_list_gives_up_its_last(tmp_path: Path) -> None:
    """Issue 6, point 12: ten networks are kept."""
    bench = Bench(tmp_path)
    bench.request(504)
    for number in range(9):
        bench.request(507, Writer().text(1, f"net{number}").finish())
    assert bench.request(500, RACK) == (0, b"")
    assert known(bench) == ["hil-rack", *(f"net{number}" for number in range(9))]
    bench.request(507, LAB)
    assert known(bench)[-2:] == ["net7", "lab"]
    assert len(known(bench)) == 10


def test_a_removed_network_is_left_at_the_next_start(tmp_path: Path) -> None:
    """Issue 6, point 12."""
    bench = Bench(tmp_path)
    bench.request(507, LAB)
    assert bench.request(503, Writer().text(1, "hil-rack").finish()) == (0, b"")
    assert Fields(bench.request(505)[1]).text(1) == "hil-rack"
    off = Bench(tmp_path)
    assert off.request(505) == (-210, b"")
    interface = Fields(Fields(off.request(401, b"\x08\x04")[1]).data(1))
    assert not interface.uint(4) & 0x40  # no link
    assert off.request(72) == (0, b"")  # it does not listen: it knows a network, which may come into the air
    off.request(504)
    lost = Bench(tmp_path)
    assert lost.request(72) == (0, b"\x08\x01")
    assert lost.request(500, RACK) == (0, b"")
    assert lost.request(71) == (0, b"")
    assert lost.request(72) == (0, b"")
    assert Fields(lost.request(505)[1]).text(1) == "hil-rack"


def test_a_board_of_an_earlier_build_knows_the_rack_s_network(tmp_path: Path) -> None:
    (tmp_path / "system.json").write_text('{"networks": [{"ssid": "lab", "security": 3, "password": "x"}]}')
    assert known(Bench(tmp_path)) == ["hil-rack", "lab"]


def test_the_air_of_an_argon(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    seen = Fields(Fields(bench.request(506)[1]).all(1)[0])
    assert (seen.text(1), len(seen.data(2)), seen.uint(3), seen.signed(5)) == ("hil-rack", 6, 3, -42)
    current = Fields(bench.request(505)[1])
    assert (current.text(1), current.data(2), current.signed(4)) == ("hil-rack", seen.data(2), -42)


@pytest.mark.parametrize(
    ("name", "radio"), [("argon", "0804 1203776c33 1808"), ("boron", "0804 1203707033 1810")]
)
def test_interfaces(tmp_path: Path, name: str, radio: str) -> None:
    bench = Bench(tmp_path, name)
    bench.machine.ip_address = "10.77.3.2"
    entries = Fields(bench.request(400)[1]).all(1)
    assert [entry.hex() for entry in entries] == [radio.replace(" ", ""), "080112036c6f301801"]
    interface = Fields(Fields(bench.request(401, b"\x08\x04")[1]).data(1))
    address = Fields(Fields(interface.data(6)).data(1))
    assert Fields(Fields(address.data(1)).data(1)).uint(1) == 0x0A4D0302
    assert address.uint(2) == {"argon": 30, "boron": 32}[name]
    assert len(interface.data(8)) == {"argon": 6, "boron": 0}[name]
    assert interface.text(11) == {"argon": "hil-rack", "boron": ""}[name]
    assert bench.request(401, b"\x08\x02") == (-1, b"")


def test_access_point_and_sim_of_a_boron(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "boron")
    assert bench.request(551, b"\x08\x01") == (0, bytes.fromhex("0a02 2001"))
    point = Writer().text(1, "apn").text(2, "me").text(3, "secret").finish()
    assert bench.request(550, Writer().uint(1, 1).message(2, point).finish()) == (0, b"")
    assert bench.request(551, b"\x08\x01") == (0, Writer().message(1, point).finish())
    assert bench.request(551, b"\x08\x02") == (0, bytes.fromhex("0a02 2001"))
    assert bench.request(553) == (0, b"\x08\x01")
    assert bench.request(552, b"\x08\x02") == (0, b"")
    again = Bench(tmp_path, "boron")
    assert again.request(553) == (0, b"\x08\x02")
    assert again.request(551, b"\x08\x01") == (0, Writer().message(1, point).finish())
    defaults = Writer().uint(1, 1).message(2, Writer().uint(4, 1)).finish()
    assert again.request(550, defaults) == (0, b"")
    assert again.request(551, b"\x08\x01") == (0, bytes.fromhex("0a02 2001"))


def test_sim_of_a_boron(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "boron")
    sim = Fields(bench.request(554)[1])
    assert (len(sim.text(1)), 2 in sim) == (20, False)  # the IMEI came with 5.8.0
    assert sim.text(1) == bench.machine.system_describe().iccid
