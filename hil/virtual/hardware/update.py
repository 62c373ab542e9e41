"""Taking a firmware file in: check it as Device OS does before an update, then put its modules into flash.

Facts: protocol fact sheet 4.3 (combined and compressed files) and 11.5 (which boards take them), USB fact sheet 4.4
(result codes). An application whose dependency is unmet is taken: the board then starts in safe mode.
"""

from __future__ import annotations

import struct
import zlib

from hil.device.modules import (
    CRC_SIZE,
    PREFIX_SIZE,
    SUFFIX_SIZE,
    Module,
    ModuleFlag,
    ModuleFunction,
    find_prefix_offset,
    parse,
)
from hil.device.platforms import Platform
from hil.device.results import Result
from hil.errors import WireError
from hil.virtual.hardware.factory import ModuleSlot, system_slots, user_slots
from hil.virtual.hardware.flash import Flash
from hil.virtual.hardware.loader import (
    ModuleState,
    Validity,
    check_module,
    inspect_modules,
    with_dependencies,
)

_ADDRESSES = struct.Struct("<II")
_COMPRESSION = struct.Struct("<HBBI")
_REPORTED_ONLY = (ModuleFunction.NCP_FIRMWARE, ModuleFunction.RADIO_STACK)
_LARGEST_UNPACKED = 2 * 1024 * 1024


class Updater:
    """Checks and applies firmware files for one board."""

    def __init__(self, platform: Platform, device_os: str, internal: Flash) -> None:
        self._platform = platform
        self._device_os = device_os
        self._internal = internal

    def validate(self, file: bytes) -> Result:
        """``OK``, or the error with which the board refuses ``file``."""
        try:
            modules = split(file)
            if not self._platform.family.compressed_updates and (len(modules) > 1 or modules[0].flags):
                return Result.NOT_SUPPORTED
            states = [self._state(module) for module in modules]
        except WireError:
            return Result.BAD_DATA
        if any(state is None for state in states):
            return Result.NOT_SUPPORTED
        return self._judge([state for state in states if state is not None])

    def apply(self, file: bytes) -> bool:
        """Put the modules of ``file`` in place. False when the board refuses it; then nothing is changed."""
        if self.validate(file) is not Result.OK:
            return False
        for module in split(file):
            if module.function not in _REPORTED_ONLY:
                self._store(unpack(module))
        self._internal.flush()
        return True

    def _judge(self, new: list[ModuleState]) -> Result:
        if not all(Validity.INTEGRITY in state.valid and Validity.PLATFORM in state.valid for state in new):
            return Result.BAD_DATA
        if not all(Validity.RANGE in state.valid for state in new):
            return Result.OUT_OF_RANGE
        replaced = {state.slot for state in new}
        present = inspect_modules(self._platform, self._device_os, self._internal)
        whole = with_dependencies([*new, *(state for state in present if state.slot not in replaced)])
        for state in whole[: len(new)]:
            optional = state.slot.function is ModuleFunction.USER_PART
            if not optional and Validity.DEPENDENCIES not in state.valid:
                return Result.BAD_DATA
        return Result.OK

    def _state(self, module: Module) -> ModuleState | None:
        if module.function in _REPORTED_ONLY and self._platform.family.radio_stack:
            slot = ModuleSlot(module.function, module.index, module.version, module.start, len(module.data))
            return ModuleState(slot, module, Validity.ALL)
        for slot in self._slots():
            if (slot.function, slot.index) == (module.function, module.index):
                return check_module(self._platform, slot, unpack(module).data)
        return None

    def _store(self, module: Module) -> None:
        if module.function is ModuleFunction.USER_PART:
            # An application of the other kind would win over the new one (USB fact sheet 5.1).
            for slot in user_slots(self._platform, self._device_os):
                self._internal.fill(slot.start, slot.max_size)
        self._internal.program(module.start, module.data)

    def _slots(self) -> tuple[ModuleSlot, ...]:
        known = (*system_slots(self._platform, self._device_os), *user_slots(self._platform, self._device_os))
        return tuple(known)


def split(file: bytes) -> list[Module]:
    """The modules of a file; all but the last of a combined one are flagged so. Raises ``WireError``."""
    modules = []
    rest = file
    while True:
        offset = find_prefix_offset(rest)
        start, end = _ADDRESSES.unpack_from(rest, offset)
        size = end - start + CRC_SIZE
        module = parse(rest[:size])
        modules.append(module)
        rest = rest[size:]
        if ModuleFlag.COMBINED not in module.flags:
            break
    if rest:
        raise WireError("bytes after the last module", found=f"{len(rest)} bytes")
    return modules


def unpack(module: Module) -> Module:
    """The module as it goes into flash: a compressed one is the original inside. Raises ``WireError``."""
    if ModuleFlag.COMPRESSED not in module.flags:
        return module
    body = module.data[module.prefix_offset + PREFIX_SIZE : -CRC_SIZE - SUFFIX_SIZE]
    if len(body) < _COMPRESSION.size:
        raise WireError("compressed module without its header", found=f"{len(body)} bytes")
    header_size, method, window_bits, original_size = _COMPRESSION.unpack_from(body)
    if method != 0 or original_size > _LARGEST_UNPACKED or window_bits not in (0, *range(8, 16)):
        raise WireError(
            "compressed module of an unknown kind", found=f"method {method}, {original_size} bytes"
        )
    # zlib does not inflate raw data with a window of 256 bytes; a larger one reads the same stream.
    inflate = zlib.decompressobj(-max(9, window_bits or 15))
    try:
        original = inflate.decompress(body[header_size:], original_size)
    except zlib.error as error:
        raise WireError("compressed module does not unpack", found=str(error)) from error
    if len(original) != original_size:
        raise WireError(
            "compressed module", expected=f"{original_size} bytes", found=f"{len(original)} bytes"
        )
    return parse(original)
