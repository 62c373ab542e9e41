"""The flash memories of a virtual board: real maps, protection letters, erase to 0xFF, kept in files.

The maps come from the DfuSe strings of the platform table, so memory and bootloader cannot disagree. Facts: USB fact
sheet 5.1 (maps, property letters) and 5.3 (configuration flash, whose erase does nothing).
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hil.errors import Signal, UsageError

ERASED = 0xFF
_SEGMENT = re.compile(r"(\d+)\*(\d+)([ KMB])([a-g])")


class FlashFault(Signal):
    """The memory does not do what was asked. ``address`` is where."""

    def __init__(self, what: str, address: int) -> None:
        super().__init__(f"{what} at 0x{address:08x}")
        self.address = address


class OutsideFlash(FlashFault):
    """There is no such address."""


class ProtectedFlash(FlashFault):
    """The sector's letter does not allow it."""


@dataclass(frozen=True, slots=True)
class Sector:
    """An erasable unit. ``letter`` a..g: bit 0 readable, bit 1 erasable, bit 2 writable of its value 1..7."""

    start: int
    size: int
    letter: str

    @property
    def end(self) -> int:
        return self.start + self.size

    @property
    def readable(self) -> bool:
        return bool(self._bits & 1)

    @property
    def erasable(self) -> bool:
        return bool(self._bits & 2)

    @property
    def writable(self) -> bool:
        return bool(self._bits & 4)

    @property
    def _bits(self) -> int:
        return ord(self.letter) - ord("a") + 1


@dataclass(frozen=True, slots=True)
class FlashMap:
    """Name, first address and sectors of one memory."""

    name: str
    start: int
    sectors: tuple[Sector, ...]

    @property
    def size(self) -> int:
        return sum(sector.size for sector in self.sectors)

    @classmethod
    def parse(cls, text: str) -> FlashMap:
        """From a DfuSe string such as ``@DCT Flash   /0x00000000/1*016Ke``. Raises ``UsageError``."""
        name, _, rest = text.removeprefix("@").partition("/")
        address, _, layout = rest.partition("/")
        try:
            start = int(address, 16)
        except ValueError as error:
            raise UsageError(
                "not a DfuSe memory string", expected="@Name /0xADDRESS/sectors", found=text
            ) from error
        return cls(name.strip(), start, tuple(_sectors(start, layout)))


def _sectors(start: int, layout: str) -> Iterator[Sector]:
    for part in layout.split(","):
        found = _SEGMENT.fullmatch(part)
        if found is None:
            raise UsageError("not a DfuSe sector list", expected="such as 07*128Kg", found=part)
        size = int(found[2]) * {"K": 1024, "M": 1024 * 1024}.get(found[3], 1)
        for _ in range(int(found[1])):
            yield Sector(start, size, found[4])
            start += size


class Flash:
    """One memory with its contents; ``flush`` writes them to ``path`` in one atomic step.

    ``write`` and ``erase`` obey the protection letters, as the bootloader does; ``program`` does not: it is the way of
    Device OS, of the factory and of the update code. ``nor`` memories only clear bits when written; the configuration
    flash behaves like RAM and ignores ``erase``.
    """

    def __init__(self, layout: FlashMap, path: Path, *, nor: bool = True) -> None:
        self.layout = layout
        self._path = path
        self._nor = nor
        self._data = bytearray([ERASED]) * layout.size
        self._dirty = False
        if path.exists():
            stored = path.read_bytes()[: layout.size]
            self._data[: len(stored)] = stored

    def read(self, address: int, size: int) -> bytes:
        """Up to ``size`` bytes from ``address``, fewer at the end of the memory. Raises ``FlashFault``."""
        offset = self._offset(address)
        if not self.sector_at(address).readable:
            raise ProtectedFlash("not readable", address)
        return bytes(self._data[offset : offset + size])

    def write(self, address: int, data: bytes) -> None:
        """Write where every sector is writable. Raises ``FlashFault`` and then changes nothing."""
        for sector in self._touched(address, len(data)):
            if not sector.writable:
                raise ProtectedFlash("not writable", sector.start)
        self._store(address, data, self._nor)

    def erase(self, address: int) -> None:
        """Erase the sector that holds ``address``. Raises ``FlashFault``."""
        sector = self.sector_at(address)
        if not self._nor:
            return
        if not sector.erasable:
            raise ProtectedFlash("not erasable", sector.start)
        self.fill(sector.start, sector.size)

    def program(self, address: int, data: bytes) -> None:
        """Put ``data`` there whatever was there before. Raises ``OutsideFlash``."""
        self._touched(address, len(data))
        self._store(address, data, False)

    def fill(self, address: int, size: int) -> None:
        """Erase ``size`` bytes, protection or not. Raises ``OutsideFlash``."""
        self.program(address, bytes([ERASED]) * size)

    def sector_at(self, address: int) -> Sector:
        """The sector that holds ``address``. Raises ``OutsideFlash``."""
        for sector in self.layout.sectors:
            if sector.start <= address < sector.end:
                return sector
        raise OutsideFlash("no flash", address)

    def flush(self) -> None:
        """Keep the contents. Erased bytes at the end are left out of the file."""
        if self._dirty or not self._path.exists():
            write_atomically(self._path, bytes(self._data.rstrip(bytes([ERASED]))))
            self._dirty = False

    def _store(self, address: int, data: bytes, only_clear: bool) -> None:
        offset = self._offset(address)
        if only_clear:
            # Flash cells go from 1 to 0 until the next erase.
            old = int.from_bytes(self._data[offset : offset + len(data)], "little")
            data = (old & int.from_bytes(data, "little")).to_bytes(len(data), "little")
        self._data[offset : offset + len(data)] = data
        self._dirty = True

    def _touched(self, address: int, size: int) -> list[Sector]:
        end = self.layout.start + self.layout.size
        if not self.layout.start <= address <= end - size:
            raise OutsideFlash("no flash", address)
        return [
            sector for sector in self.layout.sectors if sector.start < address + size and address < sector.end
        ]

    def _offset(self, address: int) -> int:
        offset = address - self.layout.start
        if not 0 <= offset < self.layout.size:
            raise OutsideFlash("no flash", address)
        return offset


def write_atomically(path: Path, data: bytes) -> None:
    """Replace the file at ``path`` as a whole: a reader or a crash sees the old contents or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
