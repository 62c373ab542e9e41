"""A board from the factory through resets, flashing and loss of power; and what the host reads of it."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from hil.device.keys import (
    ServerAddress,
    generate_server_ec,
    load_private,
    parse_server_record,
    public_der,
    server_record,
)
from hil.device.modules import Dependency, ModuleFunction, build, parse, resign
from hil.device.platforms import Transport, by_name
from hil.virtual.hardware.descriptors import dfu_alternates, dfu_face, normal_face
from hil.virtual.hardware.scheduler import ThreadScheduler
from hil.virtual.hardware.settings import production_server_record
from hil.virtual.kernel.usbdevice import Setup, Stall
from hil.virtual.launch.images import Release, build_image
from tests.virtual.boardbench import BOARDS, Bench

ALL = sorted(BOARDS)


def dfu(bench: Bench, alternate: int, address: int, data: bytes) -> None:
    """Write with the bootloader and leave nothing open."""
    device = bench.device
    device.control(Setup(0x01, 11, alternate, 0, 0))

    def download(value: int, block: bytes) -> None:
        device.control(Setup(0x21, 1, value, 0, len(block)), block)
        for _ in range(2):
            status = device.control(Setup(0xA1, 3, 0, 0, 6))
        assert status[4] == 5, status.hex()

    memory = bench.machine.memories[alternate]
    place = address
    while place < address + len(data):
        sector = memory.sector_at(place)
        if sector.erasable:
            download(0, b"\x41" + place.to_bytes(4, "little"))
        place = sector.end
    download(0, b"\x21" + address.to_bytes(4, "little"))
    for number in range(0, len(data), 4096):
        download(2 + number // 4096, data[number : number + 4096])
    device.control(Setup(0x21, 6, 0, 0, 0))


def enter_dfu(bench: Bench) -> None:
    bench.request(50)
    bench.clock.advance(1)
    assert bench.port.history[-1] == "dfu"


def leave_dfu(bench: Bench) -> None:
    bench.device.control(Setup(0x21, 1, 2, 0, 0))
    bench.device.control(Setup(0xA1, 3, 0, 0, 6))
    bench.clock.advance(0.5)
    assert bench.port.history[-1] == "normal"


# -- descriptors ---------------------------------------------------------------------------------------

# Normal product id, product string, bcdDevice, attributes, half mA, serial, CDC endpoints (int, out, in).
IDENTITY = {
    "photon": (0xC006, "Photon", 0x0250, 0x80, 50, str.upper, [0x83, 0x01, 0x81]),
    "electron": (0xC00A, "Electron", 0x0250, 0x80, 50, str.upper, [0x8A, 0x01, 0x81]),
    "argon": (0xC00C, "Argon CDC Mode", 0x0102, 0xC0, 250, str.lower, [0x82, 0x01, 0x81]),
    "boron": (0xC00D, "Boron CDC Mode", 0x0102, 0xC0, 250, str.lower, [0x82, 0x01, 0x81]),
}


def blocks(configuration: bytes) -> list[bytes]:
    found = []
    while configuration:
        found.append(configuration[: configuration[0]])
        configuration = configuration[configuration[0] :]
    return found


@pytest.mark.parametrize("name", ALL)
def test_normal_mode_descriptors(name: str) -> None:
    device_os, device_id = BOARDS[name]
    pid, product, release, attributes, power, case, endpoints = IDENTITY[name]
    face = normal_face(by_name(name), device_os, device_id)
    device = struct.unpack("<BBHBBBBHHHBBBB", face.device)
    assert device[7:10] == (0x2B04, pid, release)
    assert device[3:6] == (0xEF, 2, 1)
    assert [face.strings[index] for index in device[10:13]] == ["Particle", product, case(device_id)]
    assert struct.unpack_from("<H", face.configuration, 2)[0] == len(face.configuration)
    assert (face.configuration[4], face.configuration[7], face.configuration[8]) == (3, attributes, power)
    parts = blocks(face.configuration)
    assert [part[2] for part in parts if part[1] == 5] == endpoints
    control = parts[-1]
    assert (control[1], control[2], control[4], control[5:8]) == (4, 2, 0, b"\xff\xff\xff")
    assert face.strings[control[8]].endswith("Control Interface")


@pytest.mark.parametrize("name", ALL)
def test_dfu_descriptors(name: str) -> None:
    device_os, device_id = BOARDS[name]
    platform = by_name(name)
    face = dfu_face(platform, device_os, device_id)
    device = struct.unpack("<BBHBBBBHHHBBBB", face.device)
    assert device[7:9] == (0x2B04, platform.dfu_pid)
    assert face.strings[2] == f"{platform.display} DFU Mode"
    parts = blocks(face.configuration)
    interfaces = [part for part in parts if part[1] == 4]
    assert [(part[2], part[3], part[5:8]) for part in interfaces] == [
        (0, number, b"\xfe\x01\x02") for number in range(len(interfaces))
    ]
    names = [face.strings[part[8]] for part in interfaces]
    assert names[0].startswith("@Internal Flash   /0x")
    middle = "@DCD Flash   /0x00000000/1*016Ke" if name == "boron" else platform.dfu_alts[1]
    assert names[1] == middle
    assert len(names) == (3 if platform.generation == 3 else 2)
    assert parts[-1] == struct.pack("<BBBHHH", 9, 0x21, 0x0B, 255, 4096, 0x011A)


@pytest.mark.parametrize(
    ("device_os", "name"),
    [("2.3.1", "DCD"), ("4.0.2", "DCD"), ("4.1.0", "DCT"), ("5.0.0", "DCD"), ("5.0.1", "DCT")],
)
def test_configuration_flash_changed_its_name(device_os: str, name: str) -> None:
    assert dfu_alternates(by_name("boron"), device_os)[1].startswith(f"@{name} Flash")
    assert dfu_alternates(by_name("electron"), device_os)[1].startswith("@DCT Flash")


def test_state_string_comes_after_6_1_1() -> None:
    argon = by_name("argon")
    assert dfu_face(argon, "6.2.0", "0" * 24).strings[0xFA] == "sm=o"
    assert 0xFA not in dfu_face(argon, "2.3.1", "0" * 24).strings


# -- life ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_from_the_factory(tmp_path: Path, name: str) -> None:
    bench = Bench(tmp_path, name)
    machine = bench.machine
    platform = by_name(name)
    assert machine.last_reset_reason == "power_down"
    assert not machine.safe_mode
    assert machine.boot.application is not None
    assert machine.boot.application.name == "tinker"
    assert (machine.product_id, machine.product_version) == (platform.id, 0xFFFF)
    assert machine.claim_code() is None
    load_private(machine.device_private_der() or b"")
    address = machine.server_address()
    assert address is not None
    expected = "device.tcp.particle.io" if platform.transport is Transport.TCP else "$id.udp.particle.io"
    assert address.host == expected


@pytest.mark.parametrize("name", ALL)
def test_flash_an_application_by_dfu(tmp_path: Path, name: str) -> None:
    device_os, _ = BOARDS[name]
    platform = by_name(name)
    bench = Bench(tmp_path, name)
    enter_dfu(bench)
    dfu(
        bench,
        0,
        platform.user_part_for(device_os).start,
        build_image(Release("blinker", 1), platform, device_os),
    )
    leave_dfu(bench)
    assert bench.machine.last_reset_reason == "dfu_mode"
    assert not bench.machine.ota_succeeded
    assert b'"app":"blinker"' in bench.request(10, b'{"c":"info"}')[1]
    # The flash is in its files: another process finds the same board.
    again = Bench(tmp_path, name)
    assert b'"version":1' in again.request(10, b'{"c":"info"}')[1]
    assert again.machine.device_private_der() == bench.machine.device_private_der()


@pytest.mark.parametrize("name", ALL)
def test_server_record_by_dfu_is_what_the_cloud_client_uses(tmp_path: Path, name: str) -> None:
    platform = by_name(name)
    bench = Bench(tmp_path, name)
    own, _ = parse_server_record(platform, production_server_record(platform))
    if platform.transport is Transport.DTLS:
        own = public_der(generate_server_ec())
    record = server_record(platform, own, ServerAddress("198.18.0.2", platform.transport.port))
    enter_dfu(bench)
    dfu(bench, 1, 2082 if platform.transport is Transport.TCP else 3298, record)
    leave_dfu(bench)
    assert bench.machine.server_public_der() == own
    assert bench.machine.server_address() == ServerAddress("198.18.0.2", platform.transport.port)


def test_a_device_key_is_made_when_there_is_none(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    old = bench.machine.device_private_der()
    bench.machine.memories[1].fill(3106, 192)
    bench.board.press_reset()
    bench.clock.advance(0)
    new = bench.machine.device_private_der()
    assert new is not None
    assert new != old


@pytest.mark.parametrize(("name", "restored"), [("argon", True), ("electron", False), ("boron", False)])
def test_an_invalid_server_key_is_replaced_from_5_3_on(tmp_path: Path, name: str, restored: bool) -> None:
    bench = Bench(tmp_path, name)
    bench.machine.memories[1].program(3298, b"\x30\x59" + b"garbage" * 12 + b"\0\0\0\0\0")
    bench.machine.settings.set_address(Transport.DTLS, ServerAddress("198.18.0.2"))
    bench.board.press_reset()
    bench.clock.advance(0)
    address = bench.machine.server_address()
    assert address is not None
    assert (address.host == "$id.udp.particle.io") is restored


@pytest.mark.parametrize("record", ["02 04 c0a8010a", "00 04 00000000", "00 04 ffffffff", "01 00"])
def test_an_invalid_address_is_replaced_too(tmp_path: Path, record: str) -> None:
    bench = Bench(tmp_path)
    bench.machine.memories[1].program(3490, bytes.fromhex(record))
    bench.board.press_reset()
    bench.clock.advance(0)
    address = bench.machine.server_address()
    assert address is not None
    assert address.host == "$id.udp.particle.io"


@pytest.mark.parametrize("name", ["photon", "boron"])
def test_a_blank_server_key_becomes_the_built_in_one(tmp_path: Path, name: str) -> None:
    bench = Bench(tmp_path, name)
    field = 2082 if name == "photon" else 3298
    bench.machine.memories[1].fill(field, 320)
    bench.board.press_reset()
    bench.clock.advance(0)
    assert bench.machine.server_public_der() is not None


def test_backup_ram_survives_resets_and_not_a_loss_of_power(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.machine.backup["session"] = b"saved"
    bench.board.press_reset()
    bench.clock.advance(0)
    assert bench.machine.last_reset_reason == "pin_reset"
    assert dict(bench.machine.backup) == {"session": b"saved", "boots": b"2"}
    bench.board.power_off()
    assert bench.port.device is None
    assert bench.clouds[-1].calls[-1] == "stop None None"
    bench.board.power_on()
    assert dict(bench.machine.backup) == {"boots": b"1"}
    assert bench.machine.last_reset_reason == "power_down"


def test_a_reset_asked_for_before_another_one_is_forgotten(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.request(50)
    bench.board.press_reset()
    bench.clock.advance(10)
    assert bench.port.history == ["normal", "-", "normal"]


def test_a_reset_asked_for_before_the_power_went_is_forgotten(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.request(50)
    bench.board.power_off()
    bench.clock.advance(10)
    assert bench.port.history == ["normal", "-"]
    bench.board.power_on()
    bench.clock.advance(10)
    assert bench.port.history == ["normal", "-", "normal"]


def test_a_board_without_system_stays_in_its_bootloader(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.machine.internal.fill(0x28000, 0x8C000)
    bench.board.press_reset()
    bench.clock.advance(0)
    assert bench.port.history == ["normal", "-", "dfu"]


def test_an_application_without_a_twin_is_safe_mode(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    image = build_image(Release("probe", 1), by_name("argon"), "6.2.0").replace(
        b"HIL-APP:probe", b"HIL-APP:nosuch"
    )
    bench.machine.internal.fill(0xB4000, 0x40000)
    fixed = bytearray(image)
    fixed[4:8] = (parse(image, verify=False).start + len(image) - 4).to_bytes(4, "little")
    bench.machine.internal.program(0xB4000, resign(bytes(fixed)))
    bench.board.press_reset()
    bench.clock.advance(0)
    assert bench.machine.safe_mode
    assert bench.request(10, b'{"c":"info"}') == (-120, b"")


def test_sleep_leaves_the_bus_and_comes_back_without_a_reset(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.machine.request_sleep(3)
    bench.clock.advance(1)
    assert bench.port.history == ["normal", "-"]
    assert bench.clouds[0].calls[-1] == "stop sleep 3"
    bench.clock.advance(3)
    assert bench.port.history == ["normal", "-", "normal"]
    assert bench.clouds[1].calls == ["start", "connect"]
    assert bench.machine.backup["boots"] == b"1"


def test_a_reset_within_sleep_ends_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.machine.request_sleep(30)
    bench.clock.advance(1)
    bench.board.press_reset()
    bench.clock.advance(60)
    assert bench.port.history == ["normal", "-", "normal"]


def test_product_of_the_last_application_is_kept_in_safe_mode(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    image = resign(
        build_image(Release("probe", 1), by_name("argon"), "6.2.0"), product_id=1234, product_version=7
    )
    bench.machine.apply_update(image)
    bench.clock.advance(1)
    assert (bench.machine.product_id, bench.machine.product_version) == (1234, 7)
    # Another product's application that cannot run: the system it needs is not there.
    needs = (Dependency(ModuleFunction.SYSTEM_PART, 1, 9999),)
    other = build(12, ModuleFunction.USER_PART, 2, 6, 0xB4000, b"HIL-APP:probe@1\n", needs, product_id=4321)
    bench.machine.apply_update(other)
    bench.clock.advance(1)
    assert bench.machine.safe_mode
    assert (bench.machine.product_id, bench.machine.product_version) == (1234, 7)


def test_thread_scheduler_keeps_order_and_passes_errors_on() -> None:
    scheduler = ThreadScheduler("test")
    seen: list[str] = []
    scheduler.call_later(0.02, lambda: seen.append("later"))
    scheduler.call_later(0.0, lambda: seen.append("now"))
    scheduler.run(lambda: seen.append("run"))
    assert seen == ["now", "run"]

    def fail() -> None:
        raise ValueError("from the job")

    with pytest.raises(ValueError, match="from the job"):
        scheduler.run(fail)
    scheduler.close()


@pytest.mark.parametrize(("dfu_mode", "interface"), [(False, 2), (True, 0)])
def test_windows_learns_that_it_is_a_winusb_device(tmp_path: Path, dfu_mode: bool, interface: int) -> None:
    bench = Bench(tmp_path)
    if dfu_mode:
        enter_dfu(bench)
    text = bench.device.control(Setup(0x80, 6, 0x03EE, 0, 255))
    assert text == b"\x12\x03" + "MSFT100\xee".encode("utf-16-le")
    answer = bench.device.control(Setup(0xC0, 0xEE, 0, 4, 255))
    assert answer[:16] == bytes.fromhex("28000000 0001 0400 01") + bytes(7)
    assert answer[16:] == bytes([interface, 1]) + b"WINUSB\0\0" + bytes(14)
    assert bench.device.control(Setup(0xC0, 0xEE, 0, 4, 16)) == answer[:16]
    with pytest.raises(Stall):
        bench.device.control(Setup(0xC1, 0xEE, 0, 5, 255))


def test_a_new_configuration_has_first_settings_and_wrong_settings_are_refused(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    enter_dfu(bench)
    bench.device.control(Setup(0x01, 11, 2, 0, 0))
    assert bench.device.control(Setup(0x81, 10, 0, 0, 1)) == b"\x02"
    for alternate, number in ((3, 0), (0, 1)):
        with pytest.raises(Stall):
            bench.device.control(Setup(0x01, 11, alternate, number, 0))
    bench.device.control(Setup(0x00, 9, 1, 0, 0))
    assert bench.device.control(Setup(0x81, 10, 0, 0, 1)) == b"\0"
