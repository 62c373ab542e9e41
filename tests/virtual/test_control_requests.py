"""What control requests answer, board by board: USB fact sheet 4.5, 4.6, protocol fact sheet 11.6."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hil.platforms import Transport, by_name
from hil.virtual.images import Release, build_image
from hil.virtual.machine import WifiNetwork
from hil.virtual.usbdevice import Setup, Stall
from hil.wire.keys import ServerAddress, generate_server_ec, private_der, public_der
from hil.wire.protobuf import Fields, Writer
from tests.virtual.boardbench import BOARDS, Bench

ALL = sorted(BOARDS)
GEN2 = ("photon", "electron")


@pytest.mark.parametrize("name", ALL)
def test_identity(tmp_path: Path, name: str) -> None:
    device_os, device_id = BOARDS[name]
    bench = Bench(tmp_path, name)
    assert bench.request(20) == (0, b"\x0a\x18" + device_id.encode())
    assert bench.request(30) == (0, b"\x0a\x05" + device_os.encode())
    assert bench.request(1, b"\x00\x01echo") == (0, b"\x00\x01echo")
    assert bench.request(32) == (0, b"")
    assert bench.request(100)[1].startswith(b'{"')
    assert bench.request(100, b"x") == (-270, b"")
    serial = bench.request(21)
    assert serial == (-1, b"") if name in GEN2 else len(serial[1]) == 17


# Request -> result on (photon, electron, argon, boron).
TABLE = {
    31: (-120, -120, 0, -120),
    73: (-120, -120, -120, 0),  # an empty message says "not done"
    74: (-120, -120, 0, 0),
    76: (-120, -120, 0, -120),
    91: (-120, -120, 0, -120),
    223: (0, 0, -120, -120),
    211: (-270, -270, -120, -120),
    230: (0, 0, 0, 0),
    506: (-120, -120, 0, -120),
    554: (-120, -120, -120, 0),
    999: (-120, -120, -120, -120),
}


@pytest.mark.parametrize("number", sorted(TABLE))
def test_who_answers_what(tmp_path: Path, number: int) -> None:
    results = tuple(
        Bench(tmp_path / name, name).request(number)[0] for name in ("photon", "electron", "argon", "boron")
    )
    assert results == TABLE[number]


def test_setup_done(tmp_path: Path) -> None:
    boron = Bench(tmp_path / "boron", "boron")
    assert boron.request(74) == (0, b"")
    assert boron.request(73, b"\x08\x01") == (0, b"")
    assert boron.request(74) == (0, b"\x08\x01")
    argon = Bench(tmp_path / "argon", "argon")
    assert argon.request(74) == (0, b"\x08\x01")
    assert argon.request(73, b"\x08\x01") == (0, b"")


def test_ncp_version(tmp_path: Path) -> None:
    fields = Fields(Bench(tmp_path).request(31)[1])
    assert (fields.text(1), fields.uint(2)) == ("0.0.5", 5)


def test_old_module_table(tmp_path: Path) -> None:
    modules = [Fields(item) for item in Fields(Bench(tmp_path, "boron").request(90)[1]).all(1)]
    table = [(module.uint(1), module.uint(2), module.uint(3), module.uint(5)) for module in modules]
    assert table == [(1, 0, 1006, 0), (2, 1, 2302, 0), (3, 1, 6, 0), (6, 0, 202, 0)]
    assert modules[2].uint(4) == 12288  # without the CRC


def test_new_module_table_has_every_hash(tmp_path: Path) -> None:
    modules = [Fields(item) for item in Fields(Bench(tmp_path).request(90)[1]).all(2)]
    table = [(module.uint(1), module.uint(2), module.uint(3), len(module.data(8))) for module in modules]
    assert table == [(2, 0, 3100, 32), (4, 1, 6200, 32), (5, 2, 6, 32), (7, 0, 5, 0), (8, 0, 202, 0)]


@pytest.mark.parametrize("name", ALL)
def test_claim_code(tmp_path: Path, name: str) -> None:
    bench = Bench(tmp_path, name)
    assert bench.request(201) == (0, b"")
    code = "a" * 63
    assert bench.request(200, Writer().text(1, code).finish()) == (0, b"")
    assert bench.machine.claim_code() == code
    assert bench.request(200, Writer().text(1, "a" * 64).finish()) == (-270, b"")
    assert bench.machine.memories[1].read(1762, 63) == code.encode()


@pytest.mark.parametrize("name", GEN2)
def test_keys_and_server_of_gen2(tmp_path: Path, name: str) -> None:
    bench = Bench(tmp_path, name)
    key = generate_server_ec()
    assert bench.request(210, Writer().uint(1, 6).data(2, public_der(key)).finish()) == (0, b"")
    assert bench.request(210, Writer().uint(1, 4).data(2, private_der(key)).finish()) == (0, b"")
    assert Fields(bench.request(211, b"\x08\x06")[1]).data(1) == public_der(key)
    assert bench.machine.memories[1].read(3106, 121) == private_der(key)
    # The vector of USB fact sheet 4.5: hil.local:5684 over UDP.
    assert bench.request(220, bytes.fromhex("0802120968696c2e6c6f63616c18b42c")) == (0, b"")
    address = Fields(bench.request(221, b"\x08\x02")[1])
    assert (address.text(1), address.signed(2)) == ("hil.local", 5684)
    assert bench.machine.memories[1].read(3490, 12) == bytes.fromhex("010968696c2e6c6f63616cff")
    assert bench.machine.memories[1].read(3556, 2) == bytes.fromhex("1634")


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
    assert bench.request(503, b"\x0a\x03lab") == (0, b"")
    assert bench.request(503, b"\x0a\x03lab") == (-170, b"")
    assert bench.request(500, b"") == (-270, b"")


def test_sim_of_a_boron(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "boron")
    sim = Fields(bench.request(554)[1])
    assert (len(sim.text(1)), len(sim.text(2))) == (20, 15)
    assert sim.text(2) == bench.machine.system_describe().imei


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
    for index, length in ((20, 65), (99, 64)):
        with pytest.raises(Stall):
            bench.service(0x50, 0, index, length)
    bench.device.control(Setup(0x40, 0x50, 0, 302, 0))
    assert bench.cloud.calls[-1] == "drop"
    bench.device.control(Setup(0x40, 0x50, 0, 40, 0))
    bench.clock.advance(0)
    assert bench.port.history == ["normal", "-", "normal"]


@pytest.mark.parametrize("name", ALL)
def test_update_over_usb(tmp_path: Path, name: str) -> None:
    bench = Bench(tmp_path, name)
    image = build_image(Release("blinker", 1), by_name(name), BOARDS[name][0])
    assert bench.request(253, Writer().data(1, b"x").finish()) == (-210, b"")
    assert bench.request(250, Writer().uint(1, len(image)).finish()) == (0, b"\x08\x80\x08")
    for place in range(0, len(image), 1024):
        assert bench.request(253, Writer().data(1, image[place : place + 1024]).finish()) == (0, b"")
    assert bench.request(251, b"\x08\x01") == (0, b"")
    assert bench.request(251) == (0, b"")
    bench.clock.advance(1)
    assert bench.machine.last_reset_reason == "update"
    assert bench.machine.ota_succeeded
    assert not bench.machine.safe_mode
    assert b'"app":"blinker"' in bench.request(10, b'{"c":"info"}')[1]


def test_update_that_the_board_refuses(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    photon = build_image(Release("probe", 1), by_name("photon"), "2.3.1")
    good = build_image(Release("probe", 1), by_name("argon"), "6.2.0")
    broken = good[:-1] + bytes([good[-1] ^ 1])
    for file, result in ((photon, -280), (broken, -280), (b"garbage", -280)):
        bench.request(250, Writer().uint(1, len(file)).finish())
        for place in range(0, len(file), 1024):
            bench.request(253, Writer().data(1, file[place : place + 1024]).finish())
        assert bench.request(251) == (result, b"")
    assert bench.request(250, Writer().uint(1, 1536001).finish()) == (-190, b"")
    bench.clock.advance(5)
    assert bench.port.history == ["normal"]


def test_application_request_in_safe_mode_is_not_supported(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.request(60)
    bench.clock.advance(1)
    assert bench.request(10, b'{"c":"info"}') == (-120, b"")
    assert bench.request(30)[0] == 0


def test_address_of_udp_boards_always_has_port_5684(tmp_path: Path) -> None:
    argon = Bench(tmp_path / "argon").machine
    argon.settings.set_address(Transport.DTLS, ServerAddress("198.18.0.2", 7000))
    assert argon.server_address() == ServerAddress("198.18.0.2", 5684)
    photon = Bench(tmp_path / "photon", "photon").machine
    photon.settings.set_address(Transport.TCP, ServerAddress("198.18.0.2", 7000))
    assert photon.server_address() == ServerAddress("198.18.0.2", 7000)
    photon.settings.set_address(Transport.TCP, ServerAddress("198.18.0.2"))
    assert photon.server_address() == ServerAddress("198.18.0.2", 5683)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(
    name=st.sampled_from(["electron", "argon"]),
    requests=st.lists(
        st.tuples(
            st.sampled_from([1, 20, 73, 90, 100, 200, 210, 211, 220, 221, 222, 250, 251, 253, 300, 76])
            | st.integers(2, 0xFFFF).filter(lambda number: number not in (10, 40, 50, 60)),
            st.binary(max_size=80),
        ),
        max_size=6,
    ),
)
def test_garbage_payloads_get_a_result(
    tmp_path_factory: pytest.TempPathFactory, name: str, requests: list[tuple[int, bytes]]
) -> None:
    bench = Bench(tmp_path_factory.mktemp("board"), name)
    for number, payload in requests:
        result, _ = bench.request(number, payload)
        assert -2000 < result <= 0


SETUPS = st.builds(
    Setup,
    st.sampled_from([0xC0, 0x40, 0x21, 0xA1, 0x80, 0x00]) | st.integers(0, 255),
    st.sampled_from([1, 2, 3, 4, 5, 6, 0x20, 0x21, 0x22, 0x50]) | st.integers(0, 255),
    st.integers(0, 6) | st.integers(0, 0xFFFF),
    st.sampled_from([0, 1, 2, 3, 10, 20, 30, 40, 302]) | st.integers(0, 0xFFFF),
    st.sampled_from([0, 7, 63, 64, 4096]) | st.integers(0, 0xFFFF),
)


@settings(deadline=None, max_examples=80)
@given(steps=st.lists(st.tuples(SETUPS, st.binary(max_size=70)), max_size=30))
def test_garbage_on_endpoint_0_is_answered_or_stalled(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[Setup, bytes]]
) -> None:
    bench = Bench(tmp_path_factory.mktemp("board"))
    for setup, data in steps:
        try:
            reply = bench.device.control(setup, b"" if setup.is_in else data)
        except Stall:
            continue
        assert len(reply) <= setup.w_length
        bench.clock.advance(0.5)
    assert bench.port.history[0] == "normal"
