"""Listening mode and the touch speeds: USB fact sheet 2.1 and 3."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hil.virtual.hardware.stored import WifiNetwork
from tests.virtual.boardbench import BOARDS, Bench

ALL = sorted(BOARDS)


def listening(tmp_path: Path, name: str) -> Bench:
    bench = Bench(tmp_path, name)
    bench.request(70)
    return bench


@pytest.mark.parametrize("name", ALL)
def test_14400_is_dfu_at_once_and_only_for_once(tmp_path: Path, name: str) -> None:
    bench = Bench(tmp_path, name)
    bench.open_serial(14400)
    bench.clock.advance(0.05)
    assert bench.port.history == ["normal", "-", "dfu"]
    assert bench.clouds[0].calls[-1] == "stop None None"  # no time for a goodbye
    bench.board.press_reset()
    bench.clock.advance(0)
    assert bench.port.history[-1] == "normal"


@pytest.mark.parametrize(
    ("name", "listens"), [("photon", True), ("electron", True), ("boron", True), ("argon", False)]
)
def test_28800_is_listening_before_6_0(tmp_path: Path, name: str, listens: bool) -> None:
    bench = Bench(tmp_path, name)
    bench.open_serial(28800)
    assert bench.machine.listening is listens
    assert bench.port.history == ["normal"]


def test_the_console_is_there_only_while_listening(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    assert bench.type("v") == ""
    bench.request(70)
    assert bench.type("v") == "system firmware version: 6.2.0\n\r\n"
    assert bench.type("x") == ""
    assert not bench.machine.listening
    assert bench.cloud.calls[-1] == "connect"


def test_the_board_sends_only_with_dtr(tmp_path: Path) -> None:
    bench = listening(tmp_path, "argon")
    received = bench.open_serial()
    bench.normal.port.modem_lines(dtr=False, rts=False)
    bench.normal.port.receive(b"v")
    assert received == []


def test_the_shapes_of_i(tmp_path: Path) -> None:
    assert listening(tmp_path / "p", "photon").type("i") == "Your device id is 3d0034000747343337373738\r\n"
    electron = listening(tmp_path / "e", "electron").type("i").split("\r\n")
    assert electron[0] == "Device ID: 2b0041000251363131363432"
    assert [line.split(":")[0] for line in electron[1:]] == ["IMEI", "ICCID", "Cell Radio Version", ""]
    argon = listening(tmp_path / "a", "argon").type("i").split("\r\n")
    assert [line.split(":")[0] for line in argon] == ["Device ID", "Device Secret", "Serial Number", ""]
    boron = listening(tmp_path / "b", "boron").type("i")
    assert [line.split(":")[0] for line in boron.split("\r\n")][1:4] == [
        "Device Secret",
        "Serial Number",
        "IMEI",
    ]


def test_short_keys(tmp_path: Path) -> None:
    bench = listening(tmp_path, "photon")
    mac = bench.type("m")
    assert mac.startswith("Your device MAC address is\r\n")
    assert len(mac.split("\r\n")[1].split(":")) == 6
    modules = json.loads(bench.type("s"))
    assert (modules["p"], len(modules["m"])) == (6, 4)
    assert "sys:uptime" in json.loads(bench.type("d"))
    assert bench.type("c") == "Device claimed: no\r\n"
    assert bench.type("eyn?") == ""


def test_claim_code_dialogue(tmp_path: Path) -> None:
    bench = listening(tmp_path, "photon")
    code = "c" * 63
    assert bench.type(f"C{code}\r") == f"Enter 63-digit claim code: {code}\r\nClaim code set to: {code}\r\n"
    assert bench.machine.claim_code() == code
    assert bench.type("Cshort\n").endswith("Claim code unchanged.\r\n")
    assert bench.machine.claim_code() == code


def test_claimed_flag_is_ascii_one(tmp_path: Path) -> None:
    bench = listening(tmp_path, "photon")
    bench.machine.memories[1].program(1825, b"1")
    assert bench.type("c") == "Device claimed: yes\r\n"


def test_wifi_credentials(tmp_path: Path) -> None:
    bench = listening(tmp_path, "photon")
    said = bench.type("w\nlab\r9\r3\r1\rsecret\b\bet\r")
    prompts = ["SSID: ", "SSID: ", "Security 0=", "Security 0=", "Security Cipher", "Password: ", "Thanks!"]
    place = 0
    for prompt in prompts:
        place = said.index(prompt, place) + 1
    assert said.endswith("    Particle <3 you!\r\n\r\n")
    assert bench.machine.stored.networks[1:] == [WifiNetwork("lab", 3, "secret")]
    assert not bench.machine.listening
    again = Bench(tmp_path, "photon")
    assert again.machine.stored.networks[1].ssid == "lab"


def test_open_network_asks_for_no_password(tmp_path: Path) -> None:
    bench = listening(tmp_path, "argon")
    assert "Password" not in bench.type("wopen\r0\r")
    assert bench.machine.stored.networks[1:] == [WifiNetwork("open", 0, "")]


@pytest.mark.parametrize("name", ["electron", "boron"])
def test_a_cellular_board_has_no_mac_address(tmp_path: Path, name: str) -> None:
    """Issue 6, point 12: the key is there, the address is not."""
    assert listening(tmp_path, name).type("m") == "Your device MAC address is\r\n00:00:00:00:00:00\r\n"


def test_cellular_boards_have_no_w(tmp_path: Path) -> None:
    assert listening(tmp_path, "boron").type("w") == ""


def test_ymodem_is_refused_by_6_0(tmp_path: Path) -> None:
    said = listening(tmp_path, "argon").type("f")
    assert said.startswith("Waiting for the binary file to be sent ... (press 'a' to abort)")
    assert "\x18" * 4 in said
    assert "Serial/YModem flashing is no longer supported" in said


def test_safe_listening(tmp_path: Path) -> None:
    bench = listening(tmp_path, "argon")
    bench.type("L")
    bench.clock.advance(0)
    assert bench.port.history == ["normal", "-", "normal"]
    assert bench.machine.safe_mode
    assert bench.machine.listening
    assert bench.cloud.calls == ["start"]
