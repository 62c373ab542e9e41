"""Firmware modules: the worked example 8.8, building, checking, and errors that name what is wrong."""

from __future__ import annotations

import hashlib
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.device.modules import (
    NO_PRODUCT,
    Dependency,
    ModuleFlag,
    ModuleFunction,
    build,
    check_compatible,
    encode_prefix,
    find_prefix_offset,
    parse,
    resign,
)
from hil.device.platforms import by_name
from hil.errors import WireError

# Protocol fact sheet 8.8: the prefix of Photon tinker 0.4.5, a file of 5324 bytes.
TINKER_PREFIX = bytes.fromhex("00000a08c8140a0800000300060005010402060000000000")
TINKER_NEEDS = (Dependency(ModuleFunction.SYSTEM_PART, 2, 6),)
TINKER_PAYLOAD = 5324 - 24 - 40 - 4


def tinker(product_id: int | None = 6, product_version: int = 2) -> bytes:
    payload = bytes(index % 251 for index in range(TINKER_PAYLOAD))
    return build(
        6,
        ModuleFunction.USER_PART,
        1,
        3,
        0x080A0000,
        payload,
        TINKER_NEEDS,
        product_id=product_id,
        product_version=product_version,
    )


def argon_app(
    *, start: int = 0xB4000, index: int = 2, version: int = 6200, payload: bytes = b"code"
) -> bytes:
    needs = (Dependency(ModuleFunction.SYSTEM_PART, 1, version),)
    return build(12, ModuleFunction.USER_PART, index, 6, start, payload, needs)


def test_worked_example_prefix_is_reproduced_byte_for_byte() -> None:
    encoded = encode_prefix(
        start=0x080A0000,
        end=0x080A14C8,
        version=3,
        platform_id=6,
        function=5,
        index=1,
        dependencies=TINKER_NEEDS,
    )
    assert encoded == TINKER_PREFIX
    assert tinker()[:24] == TINKER_PREFIX


def test_worked_example_is_read() -> None:
    file = tinker()
    module = parse(file)
    assert len(file) == module.size == 5324
    assert (module.platform_id, module.function, module.index, module.version) == (6, 5, 1, 3)
    assert (module.start, module.end) == (0x080A0000, 0x080A14C8)
    assert module.dependencies == TINKER_NEEDS
    assert (module.product_id, module.product_version) == (6, 2)
    assert module.prefix_offset == 0
    assert module.data == file


def test_tail_lies_where_the_worked_example_has_it() -> None:
    file = tinker()
    assert file[-44:-38] == bytes.fromhex("060002000000")
    assert file[-38:-6] == hashlib.sha256(file[:-38]).digest()
    assert file[-6:-4] == bytes.fromhex("2800")
    assert file[-4:] == struct.pack(">I", zlib.crc32(file[:-4]))


def test_crc_of_the_worked_example_is_read_big_endian() -> None:
    file = tinker()[:-4] + bytes.fromhex("4a738441")
    assert parse(file, verify=False).crc32 == 0x4A738441


def test_product_is_unset_unless_given() -> None:
    module = parse(tinker(product_id=None, product_version=NO_PRODUCT))
    assert (module.product_id, module.product_version) == (0xFFFF, 0xFFFF)


@pytest.mark.parametrize("offset", [0, 0x20, 0x10C, 0x184, 0x200])
def test_prefix_is_found_at_each_known_offset(offset: int) -> None:
    file = build(12, ModuleFunction.SYSTEM_PART, 1, 6200, 0x30000, bytes(3000), prefix_offset=offset)
    assert find_prefix_offset(file) == offset
    module = parse(file)
    assert module.prefix_offset == offset
    assert module.size == len(file)


def test_build_refuses_an_unknown_offset() -> None:
    with pytest.raises(WireError, match="0x30"):
        build(12, ModuleFunction.SYSTEM_PART, 1, 6200, 0x30000, b"", prefix_offset=0x30)


def test_build_refuses_three_dependencies() -> None:
    with pytest.raises(WireError, match=r"at most 2\n.*found: 3"):
        build(12, ModuleFunction.USER_PART, 1, 6, 0xD4000, b"", TINKER_NEEDS * 3)


def test_flags_survive() -> None:
    file = build(12, ModuleFunction.USER_PART, 2, 6, 0xB4000, b"x", flags=ModuleFlag.COMPRESSED)
    assert parse(file).flags is ModuleFlag.COMPRESSED


def test_patched_module_is_refused_until_signed_again() -> None:
    patched = bytearray(tinker())
    patched[30] ^= 0xFF
    with pytest.raises(WireError, match="CRC-32") as caught:
        parse(bytes(patched))
    assert caught.value.found == tinker()[-4:].hex()
    assert parse(resign(bytes(patched))).data[30] == patched[30]


def test_right_crc_does_not_hide_a_wrong_hash() -> None:
    patched = bytearray(tinker())
    patched[30] ^= 0xFF
    patched[-4:] = zlib.crc32(patched[:-4]).to_bytes(4, "big")
    with pytest.raises(WireError, match="SHA-256"):
        parse(bytes(patched))


def test_resign_sets_a_product() -> None:
    module = parse(resign(tinker(), product_id=0x1FF2, product_version=13))
    assert (module.product_id, module.product_version) == (0x1FF2, 13)


def test_resign_of_a_correct_module_changes_nothing() -> None:
    assert resign(tinker()) == tinker()


@pytest.mark.parametrize("cut", [-1, 1])
def test_wrong_length_names_both_lengths(cut: int) -> None:
    file = tinker()[:-1] if cut < 0 else tinker() + b"\0"
    with pytest.raises(WireError, match=rf"5324 bytes(.|\n)*found: {5324 + cut} bytes"):
        parse(file)


def test_other_files_are_not_modules() -> None:
    with pytest.raises(WireError, match="not a module"):
        parse(b"\x7fELF" + b"\0" * 2000)


def test_short_file_says_so() -> None:
    with pytest.raises(WireError, match=r"64 bytes or more\n.*found: 3 bytes"):
        parse(b"abc")


def test_suffix_without_product_fields() -> None:
    file = bytearray(tinker())
    file[-6:-4] = (36).to_bytes(2, "little")
    module = parse(resign(bytes(file)))
    assert (module.product_id, module.product_version) == (None, None)
    with pytest.raises(WireError, match="no product fields"):
        resign(bytes(file), product_id=5)


def long_suffix(extensions: bytes) -> bytes:
    """A user part whose suffix has ``extensions`` instead of the two product fields."""
    length = 24 + len(extensions) + 36
    prefix = encode_prefix(
        start=0x085F4000, end=0x085F4000 + length, version=6, platform_id=32, function=5, index=1
    )
    return resign(prefix + extensions + bytes(34) + (len(extensions) + 36).to_bytes(2, "little") + bytes(4))


def test_product_is_read_from_the_extensions_of_a_long_suffix() -> None:
    location = struct.pack("<HHIII", 2, 16, 0x085F4000, 0, 0)
    module = parse(long_suffix(location + struct.pack("<HHIH", 1, 10, 0x12345, 7)))
    assert (module.product_id, module.product_version) == (0x12345, 7)


def test_extension_longer_than_the_suffix_is_refused() -> None:
    with pytest.raises(WireError, match="type 2 with length 99"):
        parse(long_suffix(struct.pack("<HHIII", 2, 99, 0, 0, 0)))


@given(st.binary(max_size=1500), st.booleans())
def test_garbage_raises_wire_errors_only(data: bytes, verify: bool) -> None:
    try:
        parse(data, verify=verify)
    except WireError:
        return
    assert not verify


@given(st.integers(0, 5323), st.integers(1, 255))
def test_any_changed_byte_is_noticed(place: int, flip: int) -> None:
    file = bytearray(tinker())
    file[place] ^= flip
    with pytest.raises(WireError):
        parse(bytes(file))


@given(
    payload=st.binary(max_size=300),
    product=st.integers(0, 0xFFFF),
    version=st.integers(0, 0xFFFF),
    offset=st.sampled_from([0, 0x20, 0x10C, 0x184, 0x200]),
)
def test_what_is_built_is_read_back(payload: bytes, product: int, version: int, offset: int) -> None:
    file = build(
        10,
        ModuleFunction.SYSTEM_PART,
        3,
        version,
        0x08060000,
        payload,
        TINKER_NEEDS,
        product_id=product,
        product_version=version,
        prefix_offset=offset,
    )
    module = parse(file)
    assert (module.prefix_offset, module.version, module.product_id) == (offset, version, product)
    assert file[offset + 24 : offset + 24 + len(payload)] == payload


def test_module_for_another_platform_names_both() -> None:
    with pytest.raises(WireError, match=r"platform 12 \(argon\)\n.*found: platform 6 \(photon\)"):
        check_compatible(parse(tinker()), by_name("argon"), "6.2.0")


@pytest.mark.parametrize(
    ("start", "index", "device_os", "fits"),
    [
        (0xB4000, 2, "6.2.0", True),
        (0xD4000, 1, "6.2.0", True),
        (0xD4000, 1, "2.3.1", True),
        (0xB4000, 2, "2.3.1", False),
        (0xB4000, 1, "6.2.0", False),
        (0xB5000, 2, "6.2.0", False),
    ],
)
def test_application_must_lie_where_the_board_loads_it(
    start: int, index: int, device_os: str, fits: bool
) -> None:
    module = parse(argon_app(start=start, index=index))
    if fits:
        check_compatible(module, by_name("argon"), device_os)
    else:
        with pytest.raises(WireError, match=f"0x{start:08x}, index {index}"):
            check_compatible(module, by_name("argon"), device_os)


@pytest.mark.parametrize(("payload", "fits"), [(131072 - 68, True), (131072 - 67, False)])
def test_application_of_128_kb_is_the_largest(payload: int, fits: bool) -> None:
    module = parse(build(6, ModuleFunction.USER_PART, 1, 6, 0x080A0000, bytes(payload)))
    if fits:
        check_compatible(module, by_name("photon"), "2.3.1")
    else:
        with pytest.raises(WireError, match="131073 bytes"):
            check_compatible(module, by_name("photon"), "2.3.1")


def test_core_takes_monolithic_applications_only() -> None:
    core = by_name("core")
    check_compatible(
        parse(build(0, ModuleFunction.MONOLITHIC, 0, 207, 0x08005000, b"x", prefix_offset=0x10C)),
        core,
        "1.4.4",
    )
    with pytest.raises(WireError, match=r"expected: monolithic\n.*found: user_part"):
        check_compatible(parse(build(0, ModuleFunction.USER_PART, 1, 3, 0x08005000, b"x")), core, "1.4.4")


def test_system_parts_are_checked_by_platform_alone() -> None:
    part = parse(build(6, ModuleFunction.SYSTEM_PART, 1, 2302, 0x08020000, b"x"))
    check_compatible(part, by_name("photon"), "2.3.1")
