"""What boards of one design have in common: memories, keys, USB, control requests, protocol sizes.

One :class:`Family` for each design that is in the table of boards (``hil.device.platforms``). Code asks for the
property it depends on, never for a board's name, so that a new board is a row and not a search through the house.

Facts: USB fact sheet 1.1 (USB ids), 4.5 (control requests), 5.1 (memories and modules), 5.3 and 5.4 (keys); protocol
fact sheet 6 (sizes) and 11.5, 11.6 (updates, descriptors).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

PARTICLE_VID = 0x2B04
CORE_VID = 0x1D50

_KB = 1024


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


class ControlSet(StrEnum):
    """Which control requests a board knows beside those that all of them know (USB fact sheet 4.5)."""

    NONE = "none"  # no control interface at all
    KEYS = "keys"  # 210 to 240 up to Device OS 3.3.1: keys, server address, the name of its own network
    NETWORK = "network"  # 73 and 74 setup done, 400 to 554: interfaces, Wi-Fi, SIM


class DfuDialect(StrEnum):
    """How a bootloader speaks DFU where the generations differ (USB fact sheet 5.2)."""

    STM32 = "stm32"
    NRF52 = "nrf52"


class FlashLayout(StrEnum):
    """How Device OS is cut into modules (USB fact sheet 5.1)."""

    MONOLITHIC = "monolithic"  # Device OS and application are one module
    TWO_PARTS = "two-parts"
    THREE_PARTS = "three-parts"
    ONE_PART = "one-part"


@dataclass(frozen=True, slots=True)
class UserPart:
    """Where a user application lives in internal flash.

    ``start`` is an address, ``size`` the largest module in bytes, ``index`` the module index in its prefix.
    """

    start: int
    size: int
    index: int


@dataclass(frozen=True, slots=True)
class KeyStore:
    """Where keys lie in DFU alternate setting 1: the DCT, or the SPI flash of the Core. All in bytes.

    The server record is key and address in one: ``server_address`` is where in it the address starts.
    """

    device_key: int
    device_key_size: int
    server_record: int
    server_record_size: int
    server_address: int
    server_key_size: int


@dataclass(frozen=True, slots=True)
class MessageSizes:
    """Largest CoAP message up to and from Device OS 3.0, and largest event data from 3.0, in bytes."""

    before_3: int
    since_3: int
    data: int


@dataclass(frozen=True, slots=True)
class UsbTraits:
    """What a board says of itself on USB. A product id is its base with the platform id.

    ``attributes``, ``half_ma`` (units of 2 mA) and ``release`` (BCD) are fields of the descriptors,
    ``interrupt_endpoint`` is that of the serial port.
    """

    attributes: int
    half_ma: int
    release: int
    interrupt_endpoint: int
    upper_case_serial: bool
    product_suffix: str = ""
    vendor: int = PARTICLE_VID
    product_base: int = 0xC000
    dfu_product_base: int = 0xD000


@dataclass(frozen=True, slots=True)
class Family:
    """One design.

    ``later_user_part`` replaces ``user_part`` from a release on (the old place is still honoured).
    ``main_system_part`` is the index of the part that applications depend on. ``ota_slot`` is the largest update
    file in bytes. ``radio_stack`` says that the board lists a radio stack module and takes one as an update.
    ``image_alignment`` is what the length of an application must be a multiple of, in bytes; after a download that
    needs ``read_back`` only reading shows whether it was kept. ``listening_limit`` is how many seconds listening mode
    lasts, ``None`` for ever. With ``chooses_transport`` a configuration byte may say TCP. A ``stickered`` board has a
    serial number and a device secret.
    """

    generation: int
    transport: Transport
    control: ControlSet
    dfu_dialect: DfuDialect
    layout: FlashLayout
    keys: KeyStore
    user_part: UserPart
    sizes: MessageSizes
    usb: UsbTraits
    ota_slot: int
    main_system_part: int
    later_user_part: tuple[tuple[int, ...], UserPart] | None = None
    compressed_updates: bool = False
    ota_v3: bool = False
    radio_stack: bool = False
    stickered: bool = False
    dfu_transfer_size: int = 4096
    image_alignment: int = 1
    read_back: bool = False
    listening_limit: float | None = None
    chooses_transport: bool = False

    @property
    def has_control_interface(self) -> bool:
        """Whether the board answers control requests on USB."""
        return self.control is not ControlSet.NONE

    @property
    def monolithic(self) -> bool:
        """Whether an application is one module with Device OS."""
        return self.layout is FlashLayout.MONOLITHIC


_TCP_KEYS = KeyStore(34, 612, 2082, 512, 384, 294)
_UDP_KEYS = KeyStore(3106, 192, 3298, 320, 192, 91)
_TCP_SIZES = MessageSizes(before_3=782, since_3=942, data=864)
_STM32_USB = UsbTraits(0x80, 50, 0x0250, 0x83, upper_case_serial=True)

CORE = Family(
    generation=1,
    transport=Transport.TCP,
    control=ControlSet.NONE,
    dfu_dialect=DfuDialect.STM32,
    layout=FlashLayout.MONOLITHIC,
    keys=KeyStore(0x2000, 612, 0x1000, 2048, 384, 294),
    user_part=UserPart(0x08005000, 108 * _KB, 0),
    sizes=_TCP_SIZES,
    usb=replace(_STM32_USB, vendor=CORE_VID, product_base=0x607D, dfu_product_base=0x607F),
    ota_slot=256 * _KB,
    main_system_part=0,
    dfu_transfer_size=1024,
    image_alignment=2,
    read_back=True,
)

PHOTON = Family(
    generation=2,
    transport=Transport.TCP,
    control=ControlSet.KEYS,
    dfu_dialect=DfuDialect.STM32,
    layout=FlashLayout.TWO_PARTS,
    keys=_TCP_KEYS,
    user_part=UserPart(0x080A0000, 128 * _KB, 1),
    sizes=_TCP_SIZES,
    usb=_STM32_USB,
    ota_slot=262_144,
    main_system_part=2,
)

ELECTRON = Family(
    generation=2,
    transport=Transport.DTLS,
    control=ControlSet.KEYS,
    dfu_dialect=DfuDialect.STM32,
    layout=FlashLayout.THREE_PARTS,
    keys=_UDP_KEYS,
    user_part=UserPart(0x08080000, 128 * _KB, 1),
    sizes=MessageSizes(before_3=900, since_3=960, data=864),
    usb=replace(_STM32_USB, interrupt_endpoint=0x8A),
    ota_slot=131_072,
    main_system_part=2,
    listening_limit=300.0,
    chooses_transport=True,
)

NRF52 = Family(
    generation=3,
    transport=Transport.DTLS,
    control=ControlSet.NETWORK,
    dfu_dialect=DfuDialect.NRF52,
    layout=FlashLayout.ONE_PART,
    keys=_UDP_KEYS,
    user_part=UserPart(0x000D4000, 128 * _KB, 1),
    later_user_part=((3, 1, 0), UserPart(0x000B4000, 256 * _KB, 2)),
    sizes=MessageSizes(before_3=800, since_3=1152, data=1024),
    usb=UsbTraits(0xC0, 250, 0x0102, 0x82, upper_case_serial=False, product_suffix=" CDC Mode"),
    ota_slot=1_536_000,
    main_system_part=1,
    compressed_updates=True,
    ota_v3=True,
    radio_stack=True,
    stickered=True,
)
