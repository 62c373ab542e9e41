"""Firmware modules: the binary format of everything that is flashed onto a board.

A module is code with a 24-byte prefix (where it goes, what it is, what it needs) and a suffix (product, SHA-256,
CRC-32). Facts: protocol fact sheet sections 4.3, 5 and 8.8, USB fact sheet section 7.1.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, IntFlag

from hil.device.platforms import Platform, UserPart, by_id
from hil.errors import WireError

PREFIX_SIZE = 24
CRC_SIZE = 4
SUFFIX_SIZE = 40
NO_PRODUCT = 0xFFFF

_PREFIX = struct.Struct("<IIBBHHBB")
_DEPENDENCY = struct.Struct("<BBH")
_EXTENSION = struct.Struct("<HH")
_SHA_FROM_END = 38  # the hash itself, the suffix size and the CRC
_SUFFIX_WITHOUT_PRODUCT = 36
_EXTENSION_PRODUCT = 1

# A module that starts with an interrupt vector table has the initial stack pointer, a RAM address, as first word.
_RAM_MASK = 0xFFF00000
_RAM_START = 0x20000000
_OFFSETS_AFTER_VECTORS = (0x200, 0x184, 0x10C)
_OFFSETS_WITHOUT_VECTORS = (0, 0x20)


class ModuleFunction(IntEnum):
    """What a module is for."""

    NONE = 0
    RESOURCE = 1
    BOOTLOADER = 2
    MONOLITHIC = 3
    SYSTEM_PART = 4
    USER_PART = 5
    SETTINGS = 6
    NCP_FIRMWARE = 7
    RADIO_STACK = 8
    ASSET = 9


# The letter of each function in the JSON form of a Describe (protocol fact sheet 3.3).
FUNCTION_LETTERS: dict[ModuleFunction, str] = {
    ModuleFunction.NONE: "n",
    ModuleFunction.RESOURCE: "r",
    ModuleFunction.BOOTLOADER: "b",
    ModuleFunction.MONOLITHIC: "m",
    ModuleFunction.SYSTEM_PART: "s",
    ModuleFunction.USER_PART: "u",
    ModuleFunction.NCP_FIRMWARE: "c",
    ModuleFunction.RADIO_STACK: "a",
}


class ModuleFlag(IntFlag):
    """Bits of the flags byte of the prefix."""

    NONE = 0
    DROP_MODULE_INFO = 0x01
    COMPRESSED = 0x02
    COMBINED = 0x04
    ENCRYPTED = 0x08
    PREFIX_EXTENSIONS = 0x10


@dataclass(frozen=True, slots=True)
class Dependency:
    """A module that another one needs, ``version`` being the lowest that will do."""

    function: ModuleFunction
    index: int
    version: int

    def __str__(self) -> str:
        return f"{self.function.name.lower()} {self.index} version {self.version} or later"


@dataclass(frozen=True, slots=True)
class Module:
    """A parsed module.

    ``start`` and ``end`` are flash addresses (``end`` is where the CRC lies), ``data`` the whole file,
    ``product_id`` is ``None`` when the suffix has no product fields and 0xFFFF when it has them unset,
    ``sha256`` the hash the suffix carries (the cloud's "user app hash"), ``crc32`` the stored checksum.
    """

    platform_id: int
    function: ModuleFunction
    index: int
    version: int
    start: int
    end: int
    flags: ModuleFlag
    dependencies: tuple[Dependency, ...]
    product_id: int | None
    product_version: int | None
    sha256: bytes
    crc32: int
    data: bytes
    prefix_offset: int

    @property
    def size(self) -> int:
        """Bytes from the start address to the end of the CRC: the length of the file."""
        return self.end - self.start + CRC_SIZE

    def __str__(self) -> str:
        return (
            f"{self.function.name.lower()} {self.index} version {self.version} for platform "
            f"{_platform_name(self.platform_id)} at 0x{self.start:08x}, {self.size} bytes"
        )


@dataclass(frozen=True, slots=True)
class _Prefix:
    start: int
    end: int
    flags: int
    version: int
    platform_id: int
    function: int
    index: int
    dependencies: tuple[Dependency, ...]

    @property
    def file_size(self) -> int:
        return self.end - self.start + CRC_SIZE

    @property
    def plausible(self) -> bool:
        return self.start < self.end and ModuleFunction.RESOURCE <= self.function <= ModuleFunction.ASSET


def parse(data: bytes, *, verify: bool = True) -> Module:
    """Read the module in ``data``, a whole file.

    With ``verify`` its length, CRC-32 and SHA-256 must agree with the contents. Raises ``WireError`` that names
    what is wrong; garbage never raises anything else.
    """
    offset, prefix = _find_prefix(data)
    if verify:
        _check_length(data, prefix)
        _check_crc(data)
    suffix_size = _suffix_size(data, offset)
    if verify:
        _check_sha(data)
    product_id, product_version = _product(data, suffix_size)
    return Module(
        platform_id=prefix.platform_id,
        function=ModuleFunction(prefix.function),
        index=prefix.index,
        version=prefix.version,
        start=prefix.start,
        end=prefix.end,
        flags=ModuleFlag(prefix.flags),
        dependencies=prefix.dependencies,
        product_id=product_id,
        product_version=product_version,
        sha256=data[-_SHA_FROM_END : -_SHA_FROM_END + 32],
        crc32=int.from_bytes(data[-CRC_SIZE:], "big"),
        data=bytes(data),
        prefix_offset=offset,
    )


def build(
    platform_id: int,
    function: ModuleFunction,
    index: int,
    version: int,
    start: int,
    payload: bytes,
    dependencies: Sequence[Dependency] = (),
    product_id: int | None = None,
    product_version: int = NO_PRODUCT,
    prefix_offset: int = 0,
    flags: ModuleFlag = ModuleFlag.NONE,
) -> bytes:
    """A module file around ``payload``, with correct lengths, SHA-256 and CRC-32.

    At a ``prefix_offset`` of 0x10C, 0x184 or 0x200 a blank vector table goes before the prefix, at 0x20 a blank
    image header. ``product_id=None`` leaves the product unset. Raises ``WireError`` for more than two
    dependencies or an unknown offset.
    """
    if len(dependencies) > 2:
        raise WireError(
            "module has too many dependencies", expected="at most 2", found=str(len(dependencies))
        )
    product = NO_PRODUCT if product_id is None else product_id
    head = _blank_head(prefix_offset)
    length = len(head) + PREFIX_SIZE + len(payload) + SUFFIX_SIZE
    prefix = encode_prefix(
        start=start,
        end=start + length,
        flags=flags,
        version=version,
        platform_id=platform_id,
        function=function,
        index=index,
        dependencies=dependencies,
    )
    suffix = struct.pack("<HHH32xH", product, product_version, 0, SUFFIX_SIZE)
    return resign(head + prefix + payload + suffix + bytes(CRC_SIZE))


def encode_prefix(
    *,
    start: int,
    end: int,
    flags: int = 0,
    version: int,
    platform_id: int,
    function: int,
    index: int,
    dependencies: Sequence[Dependency] = (),
) -> bytes:
    """The 24 prefix bytes."""
    packed = _PREFIX.pack(start, end, 0, flags, version, platform_id, function, index)
    needs = b"".join(_DEPENDENCY.pack(need.function, need.index, need.version) for need in dependencies)
    return packed + needs.ljust(2 * _DEPENDENCY.size, b"\0")


def resign(data: bytes, *, product_id: int | None = None, product_version: int | None = None) -> bytes:
    """The patched module ``data`` with its SHA-256 and CRC-32 computed afresh.

    ``product_id`` and ``product_version`` are written into a plain suffix first when given. Raises ``WireError``
    if the file is too short or its suffix has no place for them.
    """
    if len(data) < PREFIX_SIZE + _SUFFIX_WITHOUT_PRODUCT + CRC_SIZE:
        raise _too_short(data)
    body = bytearray(data)
    for field, value in ((-44, product_id), (-42, product_version)):
        if value is not None:
            _check_plain_suffix(data)
            struct.pack_into("<H", body, len(body) + field, value)
    body[-_SHA_FROM_END : -_SHA_FROM_END + 32] = hashlib.sha256(body[:-_SHA_FROM_END]).digest()
    body[-CRC_SIZE:] = zlib.crc32(body[:-CRC_SIZE]).to_bytes(4, "big")
    return bytes(body)


def find_prefix_offset(data: bytes) -> int:
    """Where the prefix of the module file ``data`` lies. Raises ``WireError`` when there is none."""
    return _find_prefix(data)[0]


def check_compatible(module: Module, platform: Platform, device_os: str) -> None:
    """Raise ``WireError`` unless ``platform`` running ``device_os`` takes ``module``.

    The platform id must be the board's, and an application must lie exactly where the board loads one.
    Dependencies are not looked at: a board takes such a module and goes to safe mode.
    """
    if module.platform_id != platform.id:
        raise WireError(
            "module is for another platform",
            expected=f"platform {_platform_name(platform.id)}",
            found=f"platform {_platform_name(module.platform_id)}",
        )
    application = ModuleFunction.MONOLITHIC if platform.family.monolithic else ModuleFunction.USER_PART
    if module.function is application:
        _check_location(module, _user_parts(platform, device_os))
    elif module.function in (ModuleFunction.NONE, ModuleFunction.MONOLITHIC, ModuleFunction.USER_PART):
        raise WireError(
            f"module function does not suit {platform.display}",
            expected=application.name.lower(),
            found=module.function.name.lower(),
        )


def _find_prefix(data: bytes) -> tuple[int, _Prefix]:
    """Prefix and its offset: the first place where one makes sense, one with the right file length above all."""
    if len(data) < PREFIX_SIZE + _SUFFIX_WITHOUT_PRODUCT + CRC_SIZE:
        raise _too_short(data)
    first_word = int.from_bytes(data[:4], "little")
    vectors = first_word & _RAM_MASK == _RAM_START
    offsets = _OFFSETS_AFTER_VECTORS if vectors else _OFFSETS_WITHOUT_VECTORS
    found = [
        (offset, prefix)
        for offset in offsets
        if (prefix := _decode_prefix(data, offset)) is not None and prefix.plausible
    ]
    if not found:
        places = ", ".join(f"0x{offset:x}" for offset in offsets)
        raise WireError(
            "file is not a module",
            expected=f"a module prefix at {places}",
            found=f"none; the file starts with {data[:PREFIX_SIZE].hex()}",
        )
    exact = [pair for pair in found if pair[1].file_size == len(data)]
    return (exact or found)[0]


def _decode_prefix(data: bytes, offset: int) -> _Prefix | None:
    if len(data) < offset + PREFIX_SIZE:
        return None
    start, end, _, flags, version, platform_id, function, index = _PREFIX.unpack_from(data, offset)
    needs = []
    for place in (offset + 16, offset + 20):
        need_function, need_index, need_version = _DEPENDENCY.unpack_from(data, place)
        if need_function > ModuleFunction.ASSET:
            return None
        if need_function:
            needs.append(Dependency(ModuleFunction(need_function), need_index, need_version))
    return _Prefix(start, end, flags, version, platform_id, function, index, tuple(needs))


def _check_length(data: bytes, prefix: _Prefix) -> None:
    if prefix.file_size != len(data):
        raise WireError(
            "module has the wrong length",
            expected=f"{prefix.file_size} bytes (0x{prefix.start:08x} to 0x{prefix.end:08x} and the CRC)",
            found=f"{len(data)} bytes",
        )


def _check_crc(data: bytes) -> None:
    computed = zlib.crc32(data[:-CRC_SIZE]).to_bytes(4, "big")
    if computed != data[-CRC_SIZE:]:
        raise WireError(
            "module has a wrong CRC-32",
            expected=computed.hex(),
            found=data[-CRC_SIZE:].hex(),
            hint="build it again",
        )


def _check_sha(data: bytes) -> None:
    computed = hashlib.sha256(data[:-_SHA_FROM_END]).digest()
    stored = data[-_SHA_FROM_END : -_SHA_FROM_END + 32]
    if computed != stored:
        raise WireError("module has a wrong SHA-256", expected=computed.hex(), found=stored.hex())


def _suffix_size(data: bytes, prefix_offset: int) -> int:
    size = int.from_bytes(data[-6:-4], "little")
    room = len(data) - CRC_SIZE - prefix_offset - PREFIX_SIZE
    if size != _SUFFIX_WITHOUT_PRODUCT and not SUFFIX_SIZE <= size <= room:
        raise WireError(
            "module has no suffix",
            expected=f"a suffix of 36 or 40 to {room} bytes",
            found=f"size field {size}",
        )
    return size


def _product(data: bytes, suffix_size: int) -> tuple[int | None, int | None]:
    if suffix_size == _SUFFIX_WITHOUT_PRODUCT:
        return None, None
    if suffix_size == SUFFIX_SIZE:
        product_id, version = struct.unpack_from("<HH", data, len(data) - 44)
        return product_id, version
    return _product_extension(data[-CRC_SIZE - suffix_size : -CRC_SIZE - _SUFFIX_WITHOUT_PRODUCT])


def _product_extension(extensions: bytes) -> tuple[int | None, int | None]:
    """Product id and version out of the type-length-value list of a long suffix."""
    place = 0
    while place + _EXTENSION.size <= len(extensions):
        kind, length = _EXTENSION.unpack_from(extensions, place)
        if length < _EXTENSION.size or place + length > len(extensions):
            raise WireError(
                "module suffix has a broken extension",
                expected=f"a length of 4 to {len(extensions) - place} bytes",
                found=f"type {kind} with length {length}",
            )
        if kind == _EXTENSION_PRODUCT and length >= 10:
            product_id, version = struct.unpack_from("<IH", extensions, place + _EXTENSION.size)
            return product_id, version
        place += length
    return None, None


def _blank_head(prefix_offset: int) -> bytes:
    if prefix_offset in _OFFSETS_AFTER_VECTORS:
        return (_RAM_START + 0x20000).to_bytes(4, "little").ljust(prefix_offset, b"\0")
    if prefix_offset in _OFFSETS_WITHOUT_VECTORS:
        return bytes(prefix_offset)
    known = ", ".join(f"0x{offset:x}" for offset in (*_OFFSETS_WITHOUT_VECTORS, *_OFFSETS_AFTER_VECTORS))
    raise WireError("no module has its prefix there", expected=known, found=f"0x{prefix_offset:x}")


def _check_plain_suffix(data: bytes) -> None:
    size = int.from_bytes(data[-6:-4], "little")
    if size != SUFFIX_SIZE:
        raise WireError("module suffix has no product fields", expected="suffix size 40", found=str(size))


def _user_parts(platform: Platform, device_os: str) -> tuple[UserPart, ...]:
    """Where an application may lie: Gen 3 still takes the 128 KB part of old releases beside the new one."""
    current = platform.user_part_for(device_os)
    return (current,) if current == platform.user_part else (current, platform.user_part)


def _check_location(module: Module, parts: tuple[UserPart, ...]) -> None:
    for part in parts:
        if module.start == part.start and module.size <= part.size and module.index == part.index:
            return
    raise WireError(
        "application does not fit where the board loads it",
        expected=" or ".join(
            f"0x{part.start:08x}, index {part.index}, {part.size} bytes at most" for part in parts
        ),
        found=f"0x{module.start:08x}, index {module.index}, {module.size} bytes",
    )


def _platform_name(platform_id: int) -> str:
    try:
        return f"{platform_id} ({by_id(platform_id).name})"
    except KeyError:
        return str(platform_id)


def _too_short(data: bytes) -> WireError:
    least = PREFIX_SIZE + _SUFFIX_WITHOUT_PRODUCT + CRC_SIZE
    return WireError(
        "file is too short for a module", expected=f"{least} bytes or more", found=f"{len(data)} bytes"
    )
