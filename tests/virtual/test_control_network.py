"""Control requests about Wi-Fi, interfaces and SIMs of Gen 3 boards: USB fact sheet 4.5, protocol fact sheet 11.6."""

from __future__ import annotations

from pathlib import Path

import pytest

from hil.device.protobuf import Fields, Writer
from hil.virtual.hardware.stored import WifiNetwork
from tests.virtual.boardbench import Bench


def test_wifi_networks_of_an_argon(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    # The vector of USB fact sheet 4.5: join "lab", WPA2, "password".
    join = bytes.fromhex("0a036c61621803220c0801120870617373776f7264")
    assert bench.request(501, b"\x0a\x03lab") == (-170, b"")
    assert bench.request(500, join) == (0, b"")
    assert bench.machine.stored.networks == [WifiNetwork("lab", 3, "password")]
    assert bench.request(507, join) == (0, b"")
    assert len(bench.machine.stored.networks) == 1
    assert bench.request(501, b"\x0a\x03lab") == (0, b"")
    assert bench.request(502) == (0, bytes.fromhex("0a09 0a036c6162 1003 1801"))
    assert Fields(bench.request(505)[1]).text(1) == "lab"
    assert bench.request(503, b"\x0a\x03lab") == (0, b"")
    assert bench.request(503, b"\x0a\x03lab") == (0, b"")
    assert bench.request(501, b"\x0a\x03lab") == (-170, b"")
    enterprise = Writer().text(1, "lab").message(4, Writer().uint(1, 2)).finish()
    assert bench.request(500, enterprise) == (-120, b"")


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
