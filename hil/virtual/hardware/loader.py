"""Starting what lies in flash, as the real loader does: look at every module, then decide what may run.

Facts: USB fact sheet 5.1 (addresses, which user part wins) and 7.1, protocol fact sheet 3.3 (validity bits), 5
(dependency rule) and 11.3 (a user part with an unmet dependency reads 26 of 30 and leaves the board in safe mode;
Tinker's functions).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntFlag

from hil.device.modules import (
    CRC_SIZE,
    FUNCTION_LETTERS,
    Dependency,
    Module,
    ModuleFunction,
    find_prefix_offset,
    parse,
)
from hil.device.platforms import Platform
from hil.errors import WireError
from hil.virtual.hardware.factory import (
    TINKER,
    TINKER_FUNCTIONS,
    ModuleSlot,
    reported_slots,
    system_slots,
    user_slots,
)
from hil.virtual.hardware.flash import Flash
from hil.wire.messages.description import Dependency as DescribedDependency
from hil.wire.messages.description import ModuleInfo

_ADDRESSES = struct.Struct("<II")
_APPLICATION = re.compile(rb"HIL-APP:([A-Za-z0-9][\w.-]{0,63})@(\d{1,5})\n", re.ASCII)
_BUILD = re.compile(rb"HIL-BUILD:([0-9a-f]{16})\n")
# As the C strings that Particle's own Tinker registers: its images carry no mark.
_TINKER = tuple(f"{name}\0".encode() for name in TINKER_FUNCTIONS)


class Validity(IntFlag):
    """What was found right about a module."""

    NONE = 0
    INTEGRITY = 2
    DEPENDENCIES = 4
    RANGE = 8
    PLATFORM = 16
    ALL = 30


@dataclass(frozen=True, slots=True)
class ModuleState:
    """The module in a slot. ``module`` is ``None`` for slots that are reported without being in flash."""

    slot: ModuleSlot
    module: Module | None
    valid: Validity

    @property
    def loadable(self) -> bool:
        """Whole, for this board and in its place; its dependencies are another matter."""
        return Validity.DEPENDENCIES | self.valid == Validity.ALL

    @property
    def version(self) -> int:
        return self.slot.version if self.module is None else self.module.version

    @property
    def dependencies(self) -> tuple[Dependency, ...]:
        return () if self.module is None else self.module.dependencies

    def satisfies(self, need: Dependency) -> bool:
        """Whether this module is what ``need`` asks for."""
        mine = (self.slot.function, self.slot.index)
        return self.loadable and mine == (need.function, need.index) and self.version >= need.version


@dataclass(frozen=True, slots=True)
class ApplicationName:
    """What a user part says of itself."""

    name: str
    version: int
    build: str


@dataclass(frozen=True, slots=True)
class Boot:
    """What the loader decided.

    ``system_ok`` false: nothing to run, the board stays in its bootloader. ``safe_mode``: Device OS runs without the
    application that is there. ``user`` is the module chosen, ``application`` its name when it may run.
    """

    modules: tuple[ModuleState, ...]
    system_ok: bool
    safe_mode: bool
    user: Module | None
    application: ApplicationName | None

    @property
    def nameless(self) -> bool:
        """Whether the application could run, but does not say which one it is."""
        met = any(
            state.module is self.user and Validity.DEPENDENCIES in state.valid for state in self.modules
        )
        return self.user is not None and self.application is None and met


def boot(platform: Platform, device_os: str, internal: Flash) -> Boot:
    """Look at the flash and decide."""
    modules = inspect_modules(platform, device_os, internal)
    system = [state for state in modules if state.slot.function is ModuleFunction.SYSTEM_PART]
    needed = [
        slot for slot in system_slots(platform, device_os) if slot.function is ModuleFunction.SYSTEM_PART
    ]
    system_ok = len(system) == len(needed) and all(state.loadable for state in system)
    chosen = next((state for state in _in_order_of_preference(platform, device_os, modules)), None)
    if chosen is None or chosen.module is None:
        return Boot(modules, system_ok, False, None, None)
    dependencies_met = Validity.DEPENDENCIES in chosen.valid
    application = application_of(chosen.module) if dependencies_met else None
    return Boot(modules, system_ok, application is None, chosen.module, application)


def inspect_modules(platform: Platform, device_os: str, internal: Flash) -> tuple[ModuleState, ...]:
    """Every module the board lists: bootloader, system parts, user parts, NCP and radio stack.

    A Gen 2 board does not list what ends outside of the place of its kind: a Photon's application in an Electron is
    no module there (protocol fact sheet 3.3).
    """
    listed = (*system_slots(platform, device_os), *reversed(user_slots(platform, device_os)))
    found = [state for slot in listed if (state := read_slot(platform, slot, internal)) is not None]
    if platform.family.generation == 2:
        found = [state for state in found if _ends_in_its_place(state, listed)]
    found += [ModuleState(slot, None, Validity.ALL) for slot in reported_slots(platform, device_os)]
    return with_dependencies(found)


def _ends_in_its_place(state: ModuleState, slots: Sequence[ModuleSlot]) -> bool:
    module = state.module
    if module is None:
        return True
    end = module.start + module.size - CRC_SIZE
    places = [slot for slot in slots if (slot.function, slot.index) == (module.function, module.index)]
    return any(slot.start <= end <= slot.start + slot.max_size for slot in places)


def module_at_start(region: bytes) -> bytes | None:
    """The module file that ``region`` begins with; ``None`` when there is none."""
    try:
        start, end = _ADDRESSES.unpack_from(region, find_prefix_offset(region))
    except WireError:
        return None
    size = end - start + CRC_SIZE
    return region[:size] if 0 < size <= len(region) else None


def read_slot(platform: Platform, slot: ModuleSlot, internal: Flash) -> ModuleState | None:
    """The module that lies in ``slot``, dependencies not looked at; ``None`` for an empty slot."""
    file = module_at_start(internal.read(slot.start, slot.max_size))
    try:
        return check_module(platform, slot, file) if file is not None else None
    except WireError:
        return None


def check_module(platform: Platform, slot: ModuleSlot, data: bytes) -> ModuleState:
    """The state of the module file ``data`` in ``slot``. Raises ``WireError`` when it is no module at all."""
    valid = Validity.INTEGRITY
    try:
        module = parse(data)
    except WireError:
        module, valid = parse(data, verify=False), Validity.NONE
    if module.platform_id == platform.id:
        valid |= Validity.PLATFORM
    place = (module.function, module.index, module.start)
    if place == (slot.function, slot.index, slot.start) and module.size <= slot.max_size:
        valid |= Validity.RANGE
    return ModuleState(slot, module, valid)


def with_dependencies(states: Sequence[ModuleState]) -> tuple[ModuleState, ...]:
    """``states`` with the dependency bit of each set when all it needs is among them."""

    def met(state: ModuleState) -> bool:
        return all(any(other.satisfies(need) for other in states) for need in state.dependencies)

    return tuple(
        ModuleState(
            state.slot, state.module, state.valid | (Validity.DEPENDENCIES if met(state) else Validity.NONE)
        )
        for state in states
    )


def application_name(data: bytes) -> ApplicationName | None:
    """The application that the user part ``data`` names, or ``None`` when it names none."""
    name, build = _APPLICATION.search(data), _BUILD.search(data)
    if name is None:
        return None
    return ApplicationName(name[1].decode(), int(name[2]), build[1].decode() if build else "")


def application_of(module: Module) -> ApplicationName | None:
    """The application that ``module`` names, or Tinker, which is known by its four functions."""
    named = application_name(module.data)
    if named is None and all(name in module.data for name in _TINKER):
        return ApplicationName(TINKER, module.version, "")
    return named


def describe_modules(states: Iterable[ModuleState]) -> tuple[ModuleInfo, ...]:
    """The module table of the system Describe."""
    return tuple(_describe(state) for state in states)


def _describe(state: ModuleState) -> ModuleInfo:
    module = state.module
    is_user = state.slot.function is ModuleFunction.USER_PART
    return ModuleInfo(
        function=FUNCTION_LETTERS[state.slot.function],
        index=state.slot.index,
        version=state.version,
        max_size=state.slot.max_size,
        checked=int(Validity.ALL),
        valid=int(state.valid),
        sha256=module.sha256 if module is not None and is_user else None,
        dependencies=tuple(
            DescribedDependency(FUNCTION_LETTERS.get(need.function, "n"), need.index, need.version)
            for need in state.dependencies
        ),
        size=module.size if module is not None else None,
    )


def _in_order_of_preference(
    platform: Platform, device_os: str, modules: Sequence[ModuleState]
) -> Iterable[ModuleState]:
    for slot in user_slots(platform, device_os):
        yield from (state for state in modules if state.slot == slot and state.loadable)
