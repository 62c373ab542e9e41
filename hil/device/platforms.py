"""The table of boards: one row each, with what tells it from others of its family.

A new board is one row of ``PLATFORMS``; a new design is a :class:`~hil.device.families.Family` besides. Facts:
platform ids from the USB fact sheet 1.1, memories from its section 5.1, data limits from the protocol fact sheet 6.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from hil.device.families import CORE, ELECTRON, NRF52, PHOTON, Family, Transport, UserPart
from hil.device.releases import version_tuple

__all__ = [
    "PLATFORMS",
    "Family",
    "Memories",
    "Platform",
    "Radio",
    "Transport",
    "UsbMode",
    "UserPart",
    "by_id",
    "by_name",
    "by_usb",
    "event_data_limit",
]


class Radio(StrEnum):
    """What carries the board's packets."""

    WIFI = "wifi"
    CELLULAR = "cellular"


class UsbMode(StrEnum):
    """Which of its two USB faces a board shows."""

    NORMAL = "normal"  # CDC serial and the control interface (listening and safe mode too)
    DFU = "dfu"  # the bootloader


@dataclass(frozen=True, slots=True)
class Memories:
    """The alternate settings of DFU mode, and where the factory's application lies: setting and address."""

    dfu_alts: tuple[str, ...]
    factory_slot: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Platform:
    """One kind of board.

    ``usb_name`` is its name on USB from Device OS 3.0.0 on where that is not ``display``. ``has_ncp``: an ESP32 with
    firmware of its own makes the Wi-Fi. ``missing_chunks`` is how many indices one ChunkMissed of the legacy update
    protocol names. ``radio_stack_first``: from 5.5.0 its system part names the radio stack before the bootloader.
    """

    id: int
    name: str
    display: str
    radio: Radio
    family: Family
    memories: Memories
    usb_name: str = ""
    has_ncp: bool = False
    missing_chunks: int = 40
    radio_stack_first: bool = False

    @property
    def generation(self) -> int:
        return self.family.generation

    @property
    def transport(self) -> Transport:
        return self.family.transport

    @property
    def has_control_interface(self) -> bool:
        """Whether the board answers control requests on USB; a Core does not."""
        return self.family.has_control_interface

    @property
    def user_part(self) -> UserPart:
        """The user part of the board's first releases; see :meth:`user_part_for`."""
        return self.family.user_part

    @property
    def dfu_alts(self) -> tuple[str, ...]:
        """The DfuSe string of each alternate setting."""
        return self.memories.dfu_alts

    @property
    def dfu_transfer_size(self) -> int:
        """Largest block of a DFU transfer in bytes."""
        return self.family.dfu_transfer_size

    @property
    def vid(self) -> int:
        """USB vendor id in both modes."""
        return self.family.usb.vendor

    @property
    def pid(self) -> int:
        """USB product id in normal mode."""
        return self.family.usb.product_base | self.id

    @property
    def dfu_pid(self) -> int:
        """USB product id in DFU mode."""
        return self.family.usb.dfu_product_base | self.id

    def user_part_for(self, os_version: str) -> UserPart:
        """The user part that Device OS ``os_version`` (such as ``"6.2.0"``) builds and loads.

        Gen 3 moved from 128 KB at 0xD4000 to 256 KB at 0xB4000 with 3.1.0.
        """
        later = self.family.later_user_part
        return later[1] if later is not None and version_tuple(os_version) >= later[0] else self.user_part


_CORE = Memories(
    ("@Internal Flash   /0x08000000/20*001Ka,108*001Kg", "@SPI Flash : SST25x/0x00000000/512*04Kg"),
    (1, 0x00020000),
)
_STM32_ALTS = (
    "@Internal Flash   /0x08000000/03*016Ka,01*016Kg,01*064Kg,07*128Kg",
    "@DCT Flash   /0x00000000/01*016Kg",
)
_PHOTON = Memories(_STM32_ALTS, (0, 0x080E0000))
_P1 = Memories((*_STM32_ALTS, "@Serial Flash   /0x00000000/256*004Kg"), (0, 0x080E0000))
_ELECTRON = Memories(_STM32_ALTS, (0, 0x080A0000))
_NRF_ALTS = (
    "@Internal Flash   /0x00000000/1*004Ka,47*004Kg,192*004Kg,4*004Kg,4*004Kg,8*004Ka",
    "@DCT Flash   /0x00000000/1*016Ke",
)
_NRF_4MB = Memories((*_NRF_ALTS, "@External Flash   /0x80000000/1024*004Kg"), (2, 0x80200000))
_NRF_8MB = Memories((*_NRF_ALTS, "@External Flash   /0x80000000/2048*004Kg"), (2, 0x80600000))
_WIFI, _CELLULAR = Radio.WIFI, Radio.CELLULAR

PLATFORMS: tuple[Platform, ...] = (
    Platform(0, "core", "Core", _WIFI, CORE, _CORE),
    Platform(6, "photon", "Photon", _WIFI, PHOTON, _PHOTON),
    Platform(8, "p1", "P1", _WIFI, PHOTON, _P1),
    Platform(10, "electron", "Electron", _CELLULAR, ELECTRON, _ELECTRON),
    Platform(
        12, "argon", "Argon", _WIFI, NRF52, _NRF_4MB, "", True, missing_chunks=20, radio_stack_first=True
    ),
    Platform(13, "boron", "Boron", _CELLULAR, NRF52, _NRF_4MB),
    Platform(23, "bsom", "B SoM", _CELLULAR, NRF52, _NRF_4MB, usb_name="B-SoM"),
    Platform(25, "b5som", "B5 SoM", _CELLULAR, NRF52, _NRF_8MB),
    Platform(26, "tracker", "Tracker", _CELLULAR, NRF52, _NRF_8MB, has_ncp=True),
)

_BY_NAME = {platform.name: platform for platform in PLATFORMS}
_BY_ID = {platform.id: platform for platform in PLATFORMS}


def by_name(name: str) -> Platform:
    """The platform called ``name`` (lower case, as Particle's tools write it). Raises ``KeyError``."""
    return _BY_NAME[name]


def by_id(platform_id: int) -> Platform:
    """The platform with ``platform_id``. Raises ``KeyError``. E Series boards share 10 with the Electron."""
    return _BY_ID[platform_id]


def by_usb(vid: int, pid: int) -> tuple[Platform, UsbMode] | None:
    """The platform and mode that a USB vendor and product id stand for, or ``None`` for other devices."""
    for platform in PLATFORMS:
        if vid == platform.vid:
            if pid == platform.pid:
                return platform, UsbMode.NORMAL
            if pid == platform.dfu_pid:
                return platform, UsbMode.DFU
    return None


def event_data_limit(platform: Platform, os_version: str) -> int:
    """Largest event data and function argument in bytes (protocol fact sheet section 6)."""
    version = version_tuple(os_version)
    if version < (0, 8, 0):
        return 255
    if version < (3, 0, 0):
        return 622
    return platform.family.sizes.data
