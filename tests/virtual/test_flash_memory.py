"""Flash of virtual boards: maps from the DfuSe strings, letters, NOR rules, files."""

from __future__ import annotations

from pathlib import Path

import pytest

from hil.device.platforms import PLATFORMS, by_name
from hil.errors import UsageError
from hil.virtual.hardware.flash import Flash, FlashMap, OutsideFlash, ProtectedFlash

STM32 = FlashMap.parse(by_name("photon").dfu_alts[0])
NRF = FlashMap.parse(by_name("argon").dfu_alts[0])
NRF_DCT = FlashMap.parse(by_name("argon").dfu_alts[1])


def flash(tmp_path: Path, layout: FlashMap = STM32, *, nor: bool = True) -> Flash:
    return Flash(layout, tmp_path / "flash.bin", nor=nor)


def test_map_of_the_stm32f2() -> None:
    assert (STM32.name, STM32.start, STM32.size) == ("Internal Flash", 0x08000000, 1024 * 1024)
    assert [sector.size // 1024 for sector in STM32.sectors] == [16] * 4 + [64] + [128] * 7
    assert "".join(sector.letter for sector in STM32.sectors) == "aaagggggggg" + "g"
    assert STM32.sectors[9].start == 0x080A0000


def test_map_of_the_nrf52840() -> None:
    assert NRF.size == 1024 * 1024
    letters = [(sector.start, sector.letter) for sector in NRF.sectors]
    assert letters[0] == (0, "a")
    assert letters[0xD4] == (0xD4000, "g")
    assert letters[-1] == (0xFF000, "a")


@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda platform: platform.name)
def test_every_platform_has_a_readable_map(platform: object) -> None:
    for text in by_name(getattr(platform, "name")).dfu_alts:  # noqa: B009
        assert FlashMap.parse(text).size >= 16 * 1024


@pytest.mark.parametrize("text", ["", "@Name", "@Name /zz/1*16Kg", "@Name /0x0/1*16Kz", "@Name /0x0/16Kg"])
def test_garbage_is_no_map(text: str) -> None:
    with pytest.raises(UsageError):
        FlashMap.parse(text)


def test_new_flash_is_erased_and_reads_short_at_its_end(tmp_path: Path) -> None:
    memory = flash(tmp_path)
    assert memory.read(0x08000000, 4) == b"\xff" * 4
    assert memory.read(0x080FFFFE, 16) == b"\xff\xff"


def test_a_write_clears_bits_only_until_the_sector_is_erased(tmp_path: Path) -> None:
    memory = flash(tmp_path)
    memory.write(0x080A0000, b"\xf0\x0f")
    memory.write(0x080A0000, b"\xcc\xff")
    assert memory.read(0x080A0000, 3) == b"\xc0\x0f\xff"
    memory.erase(0x080A1234)
    assert memory.read(0x080A0000, 2) == b"\xff\xff"


def test_read_only_sectors_refuse_and_keep(tmp_path: Path) -> None:
    memory = flash(tmp_path)
    with pytest.raises(ProtectedFlash):
        memory.write(0x0800BFFC, b"12345678")  # the last bytes of a read-only sector and the next one
    with pytest.raises(ProtectedFlash):
        memory.erase(0x08000000)
    assert memory.read(0x0800BFFC, 8) == b"\xff" * 8


def test_there_is_nothing_outside(tmp_path: Path) -> None:
    memory = flash(tmp_path)
    for address in (0x07FFFFFF, 0x08100000):
        with pytest.raises(OutsideFlash):
            memory.read(address, 1)
    with pytest.raises(OutsideFlash):
        memory.write(0x080FFFFE, b"123")


def test_configuration_flash_is_rewritten_without_erase(tmp_path: Path) -> None:
    memory = flash(tmp_path, NRF_DCT, nor=False)
    memory.write(34, b"\x00\x01")
    memory.erase(0)
    assert memory.read(34, 2) == b"\x00\x01"
    memory.write(34, b"\xff\x02")
    assert memory.read(34, 2) == b"\xff\x02"


def test_contents_survive_in_a_file_that_leaves_out_the_erased_end(tmp_path: Path) -> None:
    memory = flash(tmp_path)
    memory.program(0x08000100, b"kept")
    memory.flush()
    assert (tmp_path / "flash.bin").stat().st_size == 0x104
    assert flash(tmp_path).read(0x08000100, 5) == b"kept\xff"
    assert [path.name for path in tmp_path.iterdir()] == ["flash.bin"]
