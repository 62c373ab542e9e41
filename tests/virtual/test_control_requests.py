"""What control requests answer, board by board: USB fact sheet 4.5, 4.6, protocol fact sheet 11.6."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hil.device.keys import ServerAddress, generate_server_ec, private_der, public_der
from hil.device.platforms import Transport, by_name
from hil.device.protobuf import Fields, Writer
from hil.virtual.hardware.stored import WifiNetwork
from hil.virtual.kernel.usbdevice import NoAnswer, Setup, Stall
from hil.virtual.launch.images import Release, build_image
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
    assert bench.request(100, b"x") == (-120, b"")
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
    33: (-120, -120, -120, -120),  # an empty message names no feature
    34: (-120, -120, -120, -120),
    41: (0, 0, 0, 0),
    75: (0, 0, 0, 0),
    77: (-120, -120, 0, -120),
    110: (-120, -120, -120, -120),
    200: (0, 0, 0, 0),
    211: (-120, -120, -120, -120),
    222: (-120, -120, -120, -120),  # an empty message names no protocol
    230: (0, 0, 0, 0),
    231: (0, 0, 0, 0),
    240: (0, 0, -120, -120),
    400: (-120, -120, 0, 0),
    401: (-120, -120, -1, -1),  # there is no interface 0
    500: (-120, -120, -270, -120),
    501: (-120, -120, -170, -120),
    502: (-120, -120, 0, -120),
    503: (-120, -120, 0, -120),
    504: (-120, -120, 0, -120),
    505: (-120, -120, 0, -120),
    506: (-120, -120, 0, -120),
    507: (-120, -120, -270, -120),
    550: (-120, -120, -120, -270),
    551: (-120, -120, -120, -270),
    552: (-120, -120, -120, -270),
    553: (-120, -120, -120, 0),
    554: (-120, -120, -120, 0),
    1100: (-120, -120, -120, -120),
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
    assert table == [(2, 0, 3100, 32), (4, 1, 6200, 32), (5, 2, 6, 32), (7, 0, 5, 32), (8, 0, 202, 32)]


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


@pytest.mark.parametrize("name", ALL)
def test_update_over_usb(tmp_path: Path, name: str) -> None:
    bench = Bench(tmp_path, name)
    image = build_image(Release("blinker", 1), by_name(name), BOARDS[name][0])
    assert bench.request(253, Writer().data(1, b"x").finish()) == (-210, b"")
    assert bench.request(250, Writer().uint(1, 5).uint(2, 1).finish()) == (-120, b"")
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
    for chunk in (b"", b"123456"):
        assert bench.request(250, Writer().uint(1, 5).finish())[0] == 0
        assert bench.request(253, Writer().data(1, chunk).finish()) == (-290, b"")
        assert bench.request(253, Writer().data(1, b"1").finish()) == (-210, b"")
    bench.request(250, Writer().uint(1, 5).finish())
    assert bench.request(251) == (-210, b"")
    assert bench.request(253, Writer().data(1, b"12345").finish()) == (-210, b"")
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
            | st.integers(2, 0xFFFF).filter(lambda number: number not in (10, 40, 41, 50, 60)),
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
