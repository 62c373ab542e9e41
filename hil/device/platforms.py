"""One table of every board: ids, USB ids, radio, transport, module addresses, limits.

Facts: platform ids, USB ids and keys from the USB fact sheet sections 1.1 and 5.1, module addresses from its
section 5.1, payload limits from the protocol fact sheet section 6. Device OS versions from its section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

PARTICLE_VID = 0x2B04
CORE_VID = 0x1D50


class Transport(StrEnum):
    """How a board reaches the Device Cloud."""

    TCP = "tcp"  # port 5683, RSA handshake, AES-128-CBC records
    DTLS = "dtls"  # UDP port 5684, DTLS 1.2 with raw public keys

    @property
    def port(self) -> int:
        """The port the cloud listens on."""
        return 5683 if self is Transport.TCP else 5684

    @property
    def protocol(self) -> str:
        """``tcp`` or ``udp``: the word a firewall rule uses."""
        return "tcp" if self is Transport.TCP else "udp"


class Radio(StrEnum):
    """What carries the board's packets."""

    WIFI = "wifi"
    CELLULAR = "cellular"


class UsbMode(StrEnum):
    """Which of its two USB faces a board shows."""

    NORMAL = "normal"  # CDC serial and the control interface (listening and safe mode too)
    DFU = "dfu"  # the bootloader


@dataclass(frozen=True, slots=True)
class UserPart:
    """Where a user application lives in internal flash.

    ``start`` is an address, ``size`` the largest module in bytes, ``index`` the module index in its prefix.
    """

    start: int
    size: int
    index: int


@dataclass(frozen=True, slots=True)
class Platform:
    """One kind of board."""

    id: int
    name: str
    display: str
    generation: int
    radio: Radio
    transport: Transport
    user_part: UserPart
    dfu_alts: tuple[str, ...]
    dfu_transfer_size: int = 4096

    @property
    def vid(self) -> int:
        """USB vendor id in both modes."""
        return CORE_VID if self.id == 0 else PARTICLE_VID

    @property
    def pid(self) -> int:
        """USB product id in normal mode."""
        return 0x607D if self.id == 0 else 0xC000 | self.id

    @property
    def dfu_pid(self) -> int:
        """USB product id in DFU mode."""
        return 0x607F if self.id == 0 else 0xD000 | self.id

    @property
    def is_gen3(self) -> bool:
        return self.generation == 3

    def user_part_for(self, os_version: str) -> UserPart:
        """The user part that Device OS ``os_version`` (such as ``"6.2.0"``) builds and loads.

        Gen 3 moved from 128 KB at 0xD4000 to 256 KB at 0xB4000 with 3.1.0.
        """
        if self.is_gen3 and version_tuple(os_version) >= (3, 1, 0):
            return UserPart(0x000B4000, 256 * 1024, 2)
        return self.user_part


_STM32_FLASH = "@Internal Flash   /0x08000000/03*016Ka,01*016Kg,01*064Kg,07*128Kg"
_STM32_DCT = "@DCT Flash   /0x00000000/01*016Kg"
_NRF_ALTS = (
    "@Internal Flash   /0x00000000/1*004Ka,47*004Kg,192*004Kg,4*004Kg,4*004Kg,8*004Ka",
    "@DCT Flash   /0x00000000/1*016Ke",
    "@External Flash   /0x80000000/1024*004Kg",
)
_NRF_ALTS_8MB = (*_NRF_ALTS[:2], "@External Flash   /0x80000000/2048*004Kg")
_P1_ALTS = (_STM32_FLASH, _STM32_DCT, "@Serial Flash   /0x00000000/256*004Kg")
_CORE_ALTS = (
    "@Internal Flash   /0x08000000/20*001Ka,108*001Kg",
    "@SPI Flash : SST25x/0x00000000/512*04Kg",
)
_KB = 1024
_NRF_USER = UserPart(0x000D4000, 128 * _KB, 1)
_PHOTON_USER = UserPart(0x080A0000, 128 * _KB, 1)


def _nrf(id_: int, name: str, display: str, radio: Radio, alts: tuple[str, ...] = _NRF_ALTS) -> Platform:
    return Platform(id_, name, display, 3, radio, Transport.DTLS, _NRF_USER, alts)


PLATFORMS: tuple[Platform, ...] = (
    Platform(
        0,
        "core",
        "Core",
        1,
        Radio.WIFI,
        Transport.TCP,
        UserPart(0x08005000, 108 * _KB, 0),
        _CORE_ALTS,
        dfu_transfer_size=1024,
    ),
    Platform(6, "photon", "Photon", 2, Radio.WIFI, Transport.TCP, _PHOTON_USER, (_STM32_FLASH, _STM32_DCT)),
    Platform(8, "p1", "P1", 2, Radio.WIFI, Transport.TCP, _PHOTON_USER, _P1_ALTS),
    Platform(
        10,
        "electron",
        "Electron",
        2,
        Radio.CELLULAR,
        Transport.DTLS,
        UserPart(0x08080000, 128 * _KB, 1),
        (_STM32_FLASH, _STM32_DCT),
    ),
    _nrf(12, "argon", "Argon", Radio.WIFI),
    _nrf(13, "boron", "Boron", Radio.CELLULAR),
    _nrf(23, "bsom", "B SoM", Radio.CELLULAR),
    _nrf(25, "b5som", "B5 SoM", Radio.CELLULAR, _NRF_ALTS_8MB),
    _nrf(26, "tracker", "Tracker", Radio.CELLULAR, _NRF_ALTS_8MB),
)

_BY_NAME = {platform.name: platform for platform in PLATFORMS}
_BY_ID = {platform.id: platform for platform in PLATFORMS}

# Device OS release -> system module version (protocol fact sheet 3.2): not the release written as digits.
SYSTEM_MODULE_VERSIONS: dict[str, int] = {
    "2.3.1": 2302,
    "3.0.0": 3005,
    "3.1.0": 3103,
    "3.3.1": 3302,
    "4.0.0": 4003,
    "5.0.0": 5002,
    "5.5.0": 5501,
    "5.9.0": 5901,
    "6.2.0": 6200,
}


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


def version_tuple(version: str) -> tuple[int, ...]:
    """``"6.2.0"`` as ``(6, 2, 0)``; a pre-release suffix (``-rc.1``) is left out."""
    return tuple(int(part) for part in version.split("-", 1)[0].split("."))


def event_data_limit(platform: Platform, os_version: str) -> int:
    """Largest event data and function argument in bytes (protocol fact sheet section 6)."""
    version = version_tuple(os_version)
    if version < (0, 8, 0):
        return 255
    if version < (3, 0, 0):
        return 622
    return 1024 if platform.is_gen3 else 864
