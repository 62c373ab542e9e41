"""What the loader makes of the flash: USB fact sheet 5.1, protocol fact sheet 11.3 and 11.4."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest

from hil.device.modules import CRC_SIZE, Dependency, ModuleFlag, ModuleFunction, build, parse, resign
from hil.device.platforms import by_name
from hil.virtual.app.library import ApplicationLibrary
from hil.virtual.hardware.factory import factory_module, system_slots, user_slots
from hil.virtual.hardware.flash import Flash, FlashMap
from hil.virtual.hardware.loader import Boot, Validity, application_name, boot, describe_modules
from hil.virtual.hardware.update import Updater
from hil.virtual.launch.images import Release, build_image, build_images
from hil.wire.messages.description import SystemDescribe
from tests.virtual.boardbench import BOARDS

PROBE = Release("probe", 1)
RACK_OS = {name: device_os for name, (device_os, _) in BOARDS.items()}
TWO_PARTS = "6.2.0"


class Board:
    """Internal flash with system parts and no application."""

    def __init__(self, tmp_path: Path, name: str = "argon") -> None:
        self.platform = by_name(name)
        self.device_os = RACK_OS[name]
        self.flash = Flash(FlashMap.parse(self.platform.dfu_alts[0]), tmp_path / "internal.bin")
        for slot in system_slots(self.platform, self.device_os):
            self.flash.program(slot.start, factory_module(self.platform, slot))

    def put(self, data: bytes, start: int | None = None) -> None:
        self.flash.program(parse(data, verify=False).start if start is None else start, data)

    def image(self, release: Release = PROBE) -> bytes:
        return build_image(release, self.platform, self.device_os)

    def boot(self) -> Boot:
        return boot(self.platform, self.device_os, self.flash)


def old_part(board: Board, name: str, version: int = 1) -> bytes:
    """A user part for the 128 KB place of Gen 3 releases before 3.1."""
    payload = f"HIL-APP:{name}@{version}\nHIL-BUILD:{'0' * 16}\n".encode()
    need = Dependency(ModuleFunction.SYSTEM_PART, 1, 1000)
    return build(board.platform.id, ModuleFunction.USER_PART, 1, 6, 0xD4000, payload, (need,))


@pytest.mark.parametrize("name", sorted(RACK_OS))
def test_a_good_application_runs(tmp_path: Path, name: str) -> None:
    board = Board(tmp_path, name)
    board.put(board.image())
    outcome = board.boot()
    assert outcome.system_ok
    assert not outcome.safe_mode
    assert outcome.application is not None
    assert (outcome.application.name, outcome.application.version) == ("probe", 1)
    assert len(outcome.application.build) == 16


@pytest.mark.parametrize("name", sorted(RACK_OS))
def test_no_application(tmp_path: Path, name: str) -> None:
    outcome = Board(tmp_path, name).boot()
    assert outcome.system_ok
    assert outcome.application is None
    assert not outcome.safe_mode


def test_a_corrupted_application_is_no_application(tmp_path: Path) -> None:
    board = Board(tmp_path)
    image = bytearray(board.image())
    image[1000] ^= 1
    board.put(bytes(image))
    outcome = board.boot()
    assert outcome.application is None
    assert not outcome.safe_mode
    user = next(state for state in outcome.modules if state.slot.function is ModuleFunction.USER_PART)
    assert user.valid == Validity.ALL & ~Validity.INTEGRITY


def test_unmet_dependency_is_safe_mode_and_reads_26(tmp_path: Path) -> None:
    board = Board(tmp_path, "photon")
    need = Dependency(ModuleFunction.SYSTEM_PART, 2, 3302)
    payload = b"HIL-APP:probe@1\n"
    board.put(build(6, ModuleFunction.USER_PART, 1, 6, 0x080A0000, payload, (need,)))
    outcome = board.boot()
    assert outcome.safe_mode
    assert outcome.application is None
    user = next(item for item in describe_modules(outcome.modules) if item.function == "u")
    assert (user.checked, user.valid) == (30, 26)


def test_an_image_for_another_board_does_not_run(tmp_path: Path) -> None:
    board = Board(tmp_path, "photon")
    p1 = build(8, ModuleFunction.USER_PART, 1, 6, 0x080A0000, b"HIL-APP:probe@1\n", ())
    board.put(p1)
    assert board.boot().application is None


@pytest.mark.parametrize(
    ("board", "other", "listed"),
    [
        ("electron", "photon", None),
        ("photon", "electron", None),
        ("photon", "p1", (30, 14)),
        ("electron", "electron", (30, 30)),
    ],
)
def test_the_report_of_a_foreign_application(
    tmp_path: Path, board: str, other: str, listed: tuple[int, int] | None
) -> None:
    """Issue 6, point 12: what ends outside of the place of its kind is no module to a Gen 2 board; a P1's
    application ends where a Photon's does, and is listed without its platform bit."""
    bench = Board(tmp_path, board)
    foreign = by_name(other)
    image = build(
        foreign.id, ModuleFunction.USER_PART, 1, 6, foreign.user_part.start, b"HIL-APP:probe@1\n", ()
    )
    bench.put(image, by_name(board).user_part.start)
    outcome = bench.boot()
    users = [(item.checked, item.valid) for item in describe_modules(outcome.modules) if item.function == "u"]
    assert users == ([] if listed is None else [listed])
    assert (outcome.application is None) is (board != other)


def test_an_image_in_the_wrong_place_does_not_run(tmp_path: Path) -> None:
    board = Board(tmp_path)
    board.put(board.image(), 0xD4000)
    assert board.boot().application is None


def test_a_module_that_names_nothing_is_safe_mode(tmp_path: Path) -> None:
    board = Board(tmp_path, "photon")
    board.put(build(6, ModuleFunction.USER_PART, 1, 6, 0x080A0000, b"real machine code", ()))
    outcome = board.boot()
    assert outcome.safe_mode
    assert outcome.user is not None


def test_the_old_user_part_wins_when_both_are_valid(tmp_path: Path) -> None:
    board = Board(tmp_path)
    board.put(board.image())
    board.put(old_part(board, "blinker"))
    winner = board.boot().application
    assert winner is not None
    assert winner.name == "blinker"
    # What the flash tools do before they write a new-style application.
    board.flash.erase(0xD4000)
    after = board.boot().application
    assert after is not None
    assert after.name == "probe"


def test_a_broken_old_user_part_does_not_win(tmp_path: Path) -> None:
    board = Board(tmp_path)
    board.put(board.image())
    board.put(old_part(board, "blinker")[:-1] + b"\0")
    winner = board.boot().application
    assert winner is not None
    assert winner.name == "probe"


@pytest.mark.parametrize("name", sorted(RACK_OS))
def test_a_broken_system_part_stops_the_board(tmp_path: Path, name: str) -> None:
    board = Board(tmp_path, name)
    board.put(board.image())
    slot = system_slots(board.platform, board.device_os)[-1]
    board.flash.program(slot.start + 0x1000, b"broken")
    assert not board.boot().system_ok


PHOTON_DESCRIBE = (
    '{"p":6,"m":['
    '{"s":16384,"l":"m","vc":30,"vv":30,"f":"b","n":"0","v":1006,"d":[]},'
    '{"s":262144,"l":"m","vc":30,"vv":30,"f":"s","n":"1","v":2302,"d":[{"f":"s","n":"2","v":207}]},'
    '{"s":262144,"l":"m","vc":30,"vv":30,"f":"s","n":"2","v":2302,'
    '"d":[{"f":"s","n":"1","v":2302},{"f":"b","n":"0","v":1003}]},'
    '{"s":131072,"l":"m","vc":30,"vv":30,"u":"HASH","f":"u","n":"1","v":6,"d":[{"f":"s","n":"2","v":2302}]}]}'
)
ELECTRON_DESCRIBE = (
    '{"p":10,"m":['
    '{"s":16384,"l":"m","vc":30,"vv":30,"f":"b","n":"0","v":1100,"d":[]},'
    '{"s":131072,"l":"m","vc":30,"vv":30,"f":"s","n":"1","v":3302,"d":[{"f":"s","n":"3","v":3302}]},'
    '{"s":131072,"l":"m","vc":30,"vv":30,"f":"s","n":"2","v":3302,'
    '"d":[{"f":"s","n":"1","v":3302},{"f":"b","n":"0","v":1003}]},'
    '{"s":131072,"l":"m","vc":30,"vv":30,"f":"s","n":"3","v":3302,"d":[{"f":"s","n":"2","v":110}]},'
    '{"s":131072,"l":"m","vc":30,"vv":30,"u":"HASH","f":"u","n":"1","v":6,"d":[{"f":"s","n":"2","v":3302}]}]}'
)
BORON_DESCRIBE = (
    '{"p":13,"m":['
    '{"s":49152,"l":"m","vc":30,"vv":30,"f":"b","n":"0","v":1006,"d":[]},'
    '{"s":671744,"l":"m","vc":30,"vv":30,"f":"s","n":"1","v":2302,'
    '"d":[{"f":"b","n":"0","v":1005},{"f":"a","n":"0","v":202}]},'
    '{"s":131072,"l":"m","vc":30,"vv":30,"u":"HASH","f":"u","n":"1","v":6,"d":[{"f":"s","n":"1","v":2302}]},'
    '{"s":192512,"l":"m","vc":30,"vv":30,"f":"a","n":"0","v":202,"d":[]}]}'
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("photon", PHOTON_DESCRIBE), ("electron", ELECTRON_DESCRIBE), ("boron", BORON_DESCRIBE)],
)
def test_module_table_of_the_json_boards(tmp_path: Path, name: str, expected: str) -> None:
    board = Board(tmp_path, name)
    board.put(board.image())
    outcome = board.boot()
    assert outcome.user is not None
    describe = SystemDescribe(board.platform.id, describe_modules(outcome.modules)).to_json().decode()
    assert describe == expected.replace("HASH", outcome.user.sha256.hex().upper())


def test_module_table_of_an_argon_is_the_vector(tmp_path: Path) -> None:
    board = Board(tmp_path)
    slot = user_slots(board.platform, TWO_PARTS)[-1]
    board.put(factory_module(board.platform, slot))
    outcome = board.boot()
    assert outcome.user is not None
    describe = SystemDescribe(12, describe_modules(outcome.modules)).to_protobuf()
    vector = (
        "0a170802189c1828808003351e0000003d1e00000058c8f502"
        "0a270804100118b83028808023351e0000003d1e0000004a05080818ca014a050802189c185880ed22"
        "0a42080510021806288080 10351e0000003d1e0000004220"
        + outcome.user.sha256.hex()
        + "4a070804100118b830588460"
        "0a120807180528 80e05d351e0000003d1e000000"
        "0a13080818ca012880c009351e0000003d1e000000"
    )
    assert describe.hex() == vector.replace(" ", "")
    assert len(describe) == 175


def test_application_name_needs_the_whole_line() -> None:
    assert application_name(b"..HIL-APP:probe@2\nHIL-BUILD:0123456789abcdef\n..") is not None
    assert application_name(b"HIL-APP:probe@2") is None
    assert application_name(b"HIL-APP:../etc@2\n") is None


# -- updates -------------------------------------------------------------------------------------------


def compressed(image: bytes, *, claim: int | None = None) -> bytes:
    """``image`` as a compressed module."""
    module = parse(image)
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = deflate.compress(image) + deflate.flush()
    header = (8).to_bytes(2, "little") + b"\0\x0f" + (claim or len(image)).to_bytes(4, "little")
    return build(
        module.platform_id,
        module.function,
        module.index,
        module.version,
        module.start,
        header + packed,
        module.dependencies,
        flags=ModuleFlag.COMPRESSED,
    )


def updater(board: Board) -> Updater:
    return Updater(board.platform, board.device_os, board.flash)


def test_update_replaces_the_application_of_either_kind(tmp_path: Path) -> None:
    board = Board(tmp_path)
    board.put(old_part(board, "blinker"))
    assert updater(board).apply(board.image())
    outcome = board.boot()
    assert outcome.application is not None
    assert outcome.application.name == "probe"


def test_compressed_update_on_gen3_only(tmp_path: Path) -> None:
    argon = Board(tmp_path / "argon")
    assert updater(argon).apply(compressed(argon.image()))
    assert argon.flash.read(0xB4000, len(argon.image())) == argon.image()
    assert updater(argon).validate(compressed(argon.image(), claim=len(argon.image()) + 1)) == -280
    photon = Board(tmp_path / "photon", "photon")
    assert updater(photon).validate(compressed(photon.image())) == -120


def test_combined_update(tmp_path: Path) -> None:
    board = Board(tmp_path)
    system = bytearray(board.flash.read(0x28000, 571008))
    system[0x200 + 9] |= ModuleFlag.COMBINED
    combined = resign(bytes(system)) + board.image()
    assert updater(board).apply(combined)
    outcome = board.boot()
    assert outcome.system_ok
    assert outcome.application is not None
    assert updater(board).validate(combined + b"more") == -280


def test_update_checks_range_and_needs_of_system_parts(tmp_path: Path) -> None:
    board = Board(tmp_path, "photon")
    wrong_place = build(6, ModuleFunction.USER_PART, 1, 6, 0x080C0000, b"HIL-APP:probe@1\n", ())
    assert updater(board).validate(wrong_place) == -290
    need = Dependency(ModuleFunction.BOOTLOADER, 0, 9999)
    needy = build(6, ModuleFunction.SYSTEM_PART, 1, 2303, 0x08020000, b"x", (need,))
    assert updater(board).validate(needy) == -280
    # An application may come before the system that it needs.
    newer = build(
        6,
        ModuleFunction.USER_PART,
        1,
        6,
        0x080A0000,
        b"x",
        (Dependency(ModuleFunction.SYSTEM_PART, 2, 9999),),
    )
    assert updater(board).validate(newer) == 0


# -- images --------------------------------------------------------------------------------------------


def test_images_are_the_same_every_time_and_fit_their_boards(tmp_path: Path) -> None:
    rack = [(by_name(name), device_os) for name, device_os in RACK_OS.items()]
    paths = build_images(tmp_path, ApplicationLibrary(), rack)
    assert len(paths) == 12
    first = {path: path.read_bytes() for path in paths}
    build_images(tmp_path, ApplicationLibrary(), rack)
    assert {path: path.read_bytes() for path in paths} == first
    for name, device_os in RACK_OS.items():
        one = parse((tmp_path / "probe@1" / f"{name}.bin").read_bytes())
        two = parse((tmp_path / "probe@2" / f"{name}.bin").read_bytes())
        part = by_name(name).user_part_for(device_os)
        assert (one.start, one.index, one.platform_id) == (part.start, part.index, by_name(name).id)
        assert len(one.data) <= part.size
        assert len(one.data) == one.end - one.start + CRC_SIZE
        names = [application_name(module.data) for module in (one, two)]
        assert [name.version for name in names if name] == [1, 2]
        assert len({name.build for name in names if name}) == 2
