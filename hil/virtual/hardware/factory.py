"""What a virtual board leaves the factory with: which modules its flash holds, where and how large they may be.

Module versions, sizes and dependencies: protocol fact sheet 11.3 and 11.4; addresses: USB fact sheet 5.1. The code in
the modules is filler: what runs is Python, chosen by what the user part says of itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from hil.device.families import FlashLayout
from hil.device.modules import CRC_SIZE, PREFIX_SIZE, SUFFIX_SIZE, Dependency, ModuleFunction, build
from hil.device.platforms import Platform, UserPart
from hil.device.releases import system_module_version, version_tuple
from hil.errors import UsageError

TINKER = "tinker"
TINKER_VERSION = 6
TINKER_FUNCTIONS = ("digitalread", "digitalwrite", "analogread", "analogwrite")
NCP_VERSION = 5
RADIO_STACK_VERSION = 202

_KB = 1024
_VECTORS_STM32 = 0x184
_VECTORS_NRF = 0x200
# Release -> bootloader version it carries.
_BOOTLOADERS = {"2.3.1": 1006, "3.3.1": 1100, "6.2.0": 3100}


@dataclass(frozen=True, slots=True)
class ModuleSlot:
    """A place for one module, and the module that the factory puts there.

    ``max_size`` is what the board reports as the limit, ``size`` the bytes of the factory's module.
    """

    function: ModuleFunction
    index: int
    version: int
    start: int
    max_size: int
    dependencies: tuple[Dependency, ...] = ()
    prefix_offset: int = 0
    size: int = 8 * _KB


def user_slots(platform: Platform, device_os: str) -> tuple[ModuleSlot, ...]:
    """Where an application may lie, the one that wins when both are valid first (USB fact sheet 5.1)."""
    current = platform.user_part_for(device_os)
    parts = (current,) if current == platform.user_part else (platform.user_part, current)
    return tuple(_user_slot(platform, device_os, part) for part in parts)


def user_dependency(platform: Platform, device_os: str) -> Dependency:
    """The system part that an application built with ``device_os`` needs."""
    return _system(platform.family.main_system_part, system_module_version(device_os))


def is_built(platform: Platform) -> bool:
    """Whether virtual boards of ``platform`` can be had: all but the Core."""
    return platform.family.layout in _LAYOUTS


def system_slots(platform: Platform, device_os: str) -> tuple[ModuleSlot, ...]:
    """Bootloader and system parts, in the order the board lists them. Raises ``UsageError`` for a Core."""
    make = _LAYOUTS.get(platform.family.layout)
    if make is None:
        raise UsageError(
            f"there is no virtual {platform.display}", hint="use a photon, electron or Gen 3 board"
        )
    return make(platform, device_os)


def reported_slots(platform: Platform, device_os: str) -> tuple[ModuleSlot, ...]:
    """NCP and radio stack: listed, always healthy, not kept as modules in flash."""
    if not platform.family.radio_stack:
        return ()
    ncp = ModuleSlot(ModuleFunction.NCP_FIRMWARE, 0, NCP_VERSION, 0, platform.family.ota_slot)
    end = 0x27000 if version_tuple(device_os) >= (6, 2, 0) else 0x30000
    radio = ModuleSlot(ModuleFunction.RADIO_STACK, 0, RADIO_STACK_VERSION, 0x1000, end - 0x1000)
    return (ncp, radio) if platform.has_ncp else (radio,)


@lru_cache(maxsize=64)
def factory_module(platform: Platform, slot: ModuleSlot) -> bytes:
    """The factory's module file for ``slot``."""
    head = slot.prefix_offset + PREFIX_SIZE
    filler = slot.size - head - SUFFIX_SIZE - CRC_SIZE
    payload = f"{platform.name} {slot.function.name.lower()} {slot.index}\n".encode()
    if slot.function is ModuleFunction.USER_PART:
        payload = application_payload(TINKER, TINKER_VERSION, "0" * 16)
    return build(
        platform.id,
        slot.function,
        slot.index,
        slot.version,
        slot.start,
        payload.ljust(filler, b"\0"),
        slot.dependencies,
        prefix_offset=slot.prefix_offset,
    )


def application_payload(name: str, version: int, build_hash: str) -> bytes:
    """The first bytes of a user part: what application it is."""
    return f"HIL-APP:{name}@{version}\nHIL-BUILD:{build_hash}\n".encode()


def bootloader_version(device_os: str) -> int:
    """The bootloader that came with ``device_os``, or with the newest known release before it."""
    known = [name for name in _BOOTLOADERS if version_tuple(name) <= version_tuple(device_os)]
    return _BOOTLOADERS[max(known, key=version_tuple)] if known else min(_BOOTLOADERS.values())


def _user_slot(platform: Platform, device_os: str, part: UserPart) -> ModuleSlot:
    return ModuleSlot(
        ModuleFunction.USER_PART,
        part.index,
        TINKER_VERSION,
        part.start,
        part.size,
        (user_dependency(platform, device_os),),
        size=12292,
    )


def _system(index: int, version: int) -> Dependency:
    return Dependency(ModuleFunction.SYSTEM_PART, index, version)


def _bootloader(version: int) -> Dependency:
    return Dependency(ModuleFunction.BOOTLOADER, 0, version)


def _bootloader_stm32(device_os: str) -> ModuleSlot:
    version = bootloader_version(device_os)
    return ModuleSlot(
        ModuleFunction.BOOTLOADER, 0, version, 0x08000000, 16 * _KB, prefix_offset=_VECTORS_STM32
    )


def _part_maker(device_os: str, size: int) -> Callable[..., ModuleSlot]:
    version = system_module_version(device_os)

    def part(index: int, start: int, *needs: Dependency, vectors: bool = False) -> ModuleSlot:
        offset = _VECTORS_STM32 if vectors else 0
        return ModuleSlot(
            ModuleFunction.SYSTEM_PART, index, version, start, size, needs, prefix_offset=offset
        )

    return part


def _photon_slots(_platform: Platform, device_os: str) -> tuple[ModuleSlot, ...]:
    version = system_module_version(device_os)
    part = _part_maker(device_os, 256 * _KB)
    return (
        _bootloader_stm32(device_os),
        part(1, 0x08020000, _system(2, 207)),
        part(2, 0x08060000, _system(1, version), _bootloader(1003), vectors=True),
    )


def _electron_slots(_platform: Platform, device_os: str) -> tuple[ModuleSlot, ...]:
    version = system_module_version(device_os)
    part = _part_maker(device_os, 128 * _KB)
    return (
        _bootloader_stm32(device_os),
        part(1, 0x08020000, _system(3, version), vectors=True),
        part(2, 0x08040000, _system(1, version), _bootloader(1003)),
        part(3, 0x08060000, _system(2, 110)),
    )


def _nrf_slots(platform: Platform, device_os: str) -> tuple[ModuleSlot, ...]:
    release = version_tuple(device_os)
    newest = release >= (6, 2, 0)
    boot = bootloader_version(device_os)
    radio = Dependency(ModuleFunction.RADIO_STACK, 0, RADIO_STACK_VERSION)
    loader = _bootloader(1005 if release < (3, 0, 0) else boot)
    needs = (radio, loader) if platform.radio_stack_first and release >= (5, 5, 0) else (loader, radio)
    return (
        ModuleSlot(
            ModuleFunction.BOOTLOADER,
            0,
            boot,
            0x000F4000,
            48 * _KB,
            prefix_offset=_VECTORS_NRF,
            size=47816,
        ),
        ModuleSlot(
            ModuleFunction.SYSTEM_PART,
            1,
            system_module_version(device_os),
            0x00028000 if newest else 0x00030000,
            0x8C000 if newest else 0xA4000,
            needs,
            prefix_offset=_VECTORS_NRF,
            size=571008 if newest else 32 * _KB,
        ),
    )


_LAYOUTS: dict[FlashLayout, Callable[[Platform, str], tuple[ModuleSlot, ...]]] = {
    FlashLayout.ONE_PART: _nrf_slots,
    FlashLayout.TWO_PARTS: _photon_slots,
    FlashLayout.THREE_PARTS: _electron_slots,
}
