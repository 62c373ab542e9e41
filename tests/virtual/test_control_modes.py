"""Control requests that restart the board, change its mode or its cloud connection: USB fact sheet 2.2, 4.3, 4.6."""

from __future__ import annotations

from pathlib import Path

import pytest

from hil.device.platforms import by_name
from hil.virtual.kernel.usbdevice import NoAnswer, Setup, Stall
from hil.virtual.launch.images import Release, build_image
from tests.virtual.boardbench import BOARDS, Bench

ALL = sorted(BOARDS)


def test_listening_by_request(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    assert bench.request(72) == (0, b"")
    bench.request(70)
    assert bench.request(72) == (0, b"\x08\x01")
    assert bench.cloud.state == 0
    bench.request(71)
    assert bench.request(72) == (0, b"")
    assert bench.cloud.state == 2
    assert bench.port.history == ["normal"]


def test_cloud_requests(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    assert bench.request(300) == (0, b"\x08\x02")
    bench.request(302)
    assert bench.request(300) == (0, b"")
    bench.request(301)
    assert bench.cloud.calls[-2:] == ["disconnect", "connect"]


@pytest.mark.parametrize("number", [40, 41, 50, 60])
def test_requests_that_restart_leave_the_cloud_when_they_are_announced(tmp_path: Path, number: int) -> None:
    bench = Bench(tmp_path)
    bench.service(1, 100, number)  # with a payload that never comes
    assert bench.cloud.calls[-1] == "disconnect"
    bench.clock.advance(5)
    assert bench.cloud.calls[-1] == "disconnect"
    assert bench.port.history == ["normal"]


@pytest.mark.parametrize("name", ["electron", "photon"])
def test_an_electron_listens_for_five_minutes(tmp_path: Path, name: str) -> None:
    bench = Bench(tmp_path, name)
    bench.request(70)
    bench.clock.advance(200)
    bench.request(71)
    bench.request(70)
    bench.clock.advance(299)
    assert bench.machine.listening
    assert bench.cloud.calls[-1] == "disconnect"
    bench.clock.advance(2)
    assert bench.machine.listening is (name == "photon")
    assert bench.cloud.calls[-1] == {"electron": "connect", "photon": "disconnect"}[name]


@pytest.mark.parametrize("name", ALL)
def test_startup_mode_is_for_one_start(tmp_path: Path, name: str) -> None:
    bench = Bench(tmp_path, name)
    assert bench.request(75, b"\x08\x01") == (0, b"")
    assert not bench.machine.listening
    bench.board.press_reset()
    bench.clock.advance(0)
    assert bench.request(72) == (0, b"\x08\x01")
    bench.board.press_reset()
    bench.clock.advance(0)
    assert bench.request(72) == (0, b"")
    bench.request(75, b"\x08\x01")
    assert bench.request(75) == (0, b"")
    bench.board.press_reset()
    bench.clock.advance(0)
    assert not bench.machine.listening


@pytest.mark.parametrize(("name", "memory", "address"), [("photon", 0, 0x080E0000), ("argon", 2, 0x80200000)])
def test_factory_reset(tmp_path: Path, name: str, memory: int, address: int) -> None:
    bench = Bench(tmp_path, name)
    bench.request(41)
    bench.clock.advance(1)
    assert bench.port.history == ["normal", "-", "normal"]
    assert bench.machine.last_reset_reason == "factory_reset"
    assert "factory slot" in bench.machine.log_lines[-1]
    assert bench.request(10, b'{"c":"info"}')[0] == -120  # Tinker is still there
    image = build_image(Release("blinker", 1), by_name(name), BOARDS[name][0])
    bench.machine.memories[memory].program(address, image)
    bench.request(41)
    bench.clock.advance(1)
    assert b'"app":"blinker"' in bench.request(10, b'{"c":"info"}')[1]


def test_a_reset_of_the_bus_ends_requests(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    handle = bench.service(1, 20, 1)[6]
    bench.device.reset()
    assert bench.service(2, 0, handle) == bytes.fromhex("010000000500")


@pytest.mark.parametrize(
    ("number", "reason", "history"),
    [(40, "user", "normal"), (50, "dfu_mode", "dfu"), (60, "safe_mode", "normal")],
)
def test_resets_wait_a_second_after_the_reply(tmp_path: Path, number: int, reason: str, history: str) -> None:
    bench = Bench(tmp_path)
    first = bench.service(1, 0, number)
    bench.clock.advance(5)
    assert bench.port.history == ["normal"]  # the reply was not fetched yet
    assert bench.service(2, 0, first[6]) == bytes.fromhex("090000000000 00000000")
    bench.clock.advance(0.99)
    assert bench.port.history == ["normal"]
    bench.clock.advance(0.02)
    assert bench.port.history == ["normal", "-", history]
    assert bench.clouds[0].calls[-1].startswith("stop reset ")
    if history == "normal":
        assert bench.machine.last_reset_reason == reason
        assert bench.machine.safe_mode is (number == 60)


def test_raw_requests(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    assert bench.service(0x50, 0, 20) == b"e00fce68aabbccddeeff0011"
    assert bench.service(0x50, 0, 30) == b"6.2.0"
    assert bench.service(0x50, 0, 30, 5) == b"6.2.0"
    for index, length in ((20, 65), (99, 64), (20, 23), (30, 4), (30, 0)):
        with pytest.raises(Stall):
            bench.service(0x50, 0, index, length)
    bench.device.control(Setup(0x40, 0x50, 0, 302, 0))
    assert bench.cloud.calls[-1] == "drop"
    with pytest.raises(NoAnswer):
        bench.device.control(Setup(0x40, 0x50, 0, 40, 0))
    bench.clock.advance(0)
    assert bench.port.history == ["normal", "-", "normal"]
