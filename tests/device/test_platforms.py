"""The table of boards, against the figures of the USB fact sheet 1.1 and 5.1 and the protocol fact sheet 6 and 11."""

import pytest

from hil.device.families import ControlSet, Family
from hil.device.platforms import PLATFORMS, UsbMode, by_id, by_name, by_usb, event_data_limit

# Name, platform id, USB ids in normal and DFU mode.
IDS = [
    ("core", 0, 0x1D50, 0x607D, 0x607F),
    ("photon", 6, 0x2B04, 0xC006, 0xD006),
    ("p1", 8, 0x2B04, 0xC008, 0xD008),
    ("electron", 10, 0x2B04, 0xC00A, 0xD00A),
    ("argon", 12, 0x2B04, 0xC00C, 0xD00C),
    ("boron", 13, 0x2B04, 0xC00D, 0xD00D),
    ("bsom", 23, 0x2B04, 0xC017, 0xD017),
    ("b5som", 25, 0x2B04, 0xC019, 0xD019),
    ("tracker", 26, 0x2B04, 0xC01A, 0xD01A),
]


@pytest.mark.parametrize(("name", "platform_id", "vid", "pid", "dfu_pid"), IDS)
def test_a_board_is_known_by_name_by_id_and_on_usb(
    name: str, platform_id: int, vid: int, pid: int, dfu_pid: int
) -> None:
    platform = by_name(name)
    assert platform is by_id(platform_id)
    assert by_usb(vid, pid) == (platform, UsbMode.NORMAL)
    assert by_usb(vid, dfu_pid) == (platform, UsbMode.DFU)


def test_the_table_holds_these_boards_and_knows_no_other_usb_device() -> None:
    assert [platform.name for platform in PLATFORMS] == [name for name, *_ in IDS]
    assert by_usb(0x2B04, 0xC020) is None
    assert by_usb(0x1D50, 0xC00C) is None


@pytest.mark.parametrize(
    ("name", "os", "start", "size", "index"),
    [
        ("core", "1.4.4", 0x08005000, 108, 0),
        ("photon", "3.3.1", 0x080A0000, 128, 1),
        ("electron", "3.3.1", 0x08080000, 128, 1),
        ("boron", "2.3.1", 0x000D4000, 128, 1),
        ("boron", "3.1.0", 0x000B4000, 256, 2),
    ],
)
def test_an_application_lies_where_its_release_loads_it(
    name: str, os: str, start: int, size: int, index: int
) -> None:
    part = by_name(name).user_part_for(os)
    assert (part.start, part.size, part.index) == (start, size * 1024, index)


@pytest.mark.parametrize(
    ("name", "setting", "address"),
    [
        ("core", 1, 0x00020000),
        ("photon", 0, 0x080E0000),
        ("p1", 0, 0x080E0000),
        ("electron", 0, 0x080A0000),
        ("argon", 2, 0x80200000),
        ("bsom", 2, 0x80200000),
        ("b5som", 2, 0x80600000),
        ("tracker", 2, 0x80600000),
    ],
)
def test_the_application_of_the_factory_lies_in_a_memory_of_its_own(
    name: str, setting: int, address: int
) -> None:
    assert by_name(name).memories.factory_slot == (setting, address)


@pytest.mark.parametrize(
    ("name", "os", "limit"),
    [
        ("photon", "0.7.0", 255),
        ("photon", "2.3.1", 622),
        ("photon", "3.3.1", 864),
        ("electron", "3.3.1", 864),
        ("argon", "2.3.1", 622),
        ("argon", "6.2.0", 1024),
    ],
)
def test_event_data_grew_with_the_releases(name: str, os: str, limit: int) -> None:
    assert event_data_limit(by_name(name), os) == limit


def family(name: str) -> Family:
    return by_name(name).family


def test_only_a_core_has_no_control_interface() -> None:
    assert [platform.name for platform in PLATFORMS if not platform.has_control_interface] == ["core"]
    assert family("photon").control is family("electron").control is ControlSet.KEYS
    assert family("boron").control is ControlSet.NETWORK


def test_an_image_of_a_core_has_an_even_length_and_is_read_back() -> None:
    assert (family("core").image_alignment, family("core").read_back) == (2, True)
    assert (family("p1").image_alignment, family("p1").read_back) == (1, False)


def test_an_electron_does_not_listen_for_ever_and_may_speak_tcp() -> None:
    assert (family("electron").listening_limit, family("photon").listening_limit) == (300.0, None)
    assert [one.name for one in PLATFORMS if one.family.chooses_transport] == ["electron"]


def test_wifi_by_an_esp32_is_on_argon_and_tracker() -> None:
    assert [platform.name for platform in PLATFORMS if platform.has_ncp] == ["argon", "tracker"]
