"""Which application is in a board's flash memory, found out without assuming which one it is.

The sources, cheapest first: the board's own module table (request 90), what this process last saw there, witnesses
that a caller adds (the probe, the cloud), and at last the flash memory itself, read over DFU. Device OS from 5.6 tells
each module's hash in its table; older releases tell kind, version, size and validity, which can say "no" but not
"yes". USB fact sheet 4.5 and 5.1, protocol fact sheet 5.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from hil.device.modules import CRC_SIZE, PREFIX_SIZE, Module, ModuleFunction
from hil.device.platforms import Platform, UsbMode
from hil.rig.images import Image
from hil.usb import requests
from hil.usb.control import ControlChannel, RequestTimeout
from hil.usb.dfu import INTERNAL_FLASH, DfuUtil
from hil.usb.requests import InstalledModule
from hil.usb.sysfs import UsbBoard
from hil.usb.transport import TransferError

_TAIL = 38  # bytes of SHA-256, suffix size and CRC-32 at the end of a module
_APPLICATION = (ModuleFunction.USER_PART, ModuleFunction.MONOLITHIC)

Witness = Callable[[Image], bool | None]  # ``None``: cannot tell


class ModuleHost(Protocol):
    """What it takes to look at a board's modules."""

    @property
    def usb(self) -> UsbBoard: ...

    @property
    def has_control(self) -> bool: ...

    @property
    def enumeration(self) -> tuple[int, int]: ...

    def control(self) -> ControlChannel: ...


class InstalledApplication:
    """The application of one board. ``witnesses`` are asked in turn where the module table leaves it open."""

    def __init__(self, host: ModuleHost) -> None:
        self._host = host
        self._seen: tuple[tuple[int, int], bytes] | None = None
        self._doubtful = False
        self.witnesses: list[Witness] = []

    def modules(self) -> tuple[InstalledModule, ...]:
        """The board's modules as it reports them; nothing when it cannot (DFU mode, Core, a stuck board)."""
        if self._host.usb.mode is UsbMode.DFU or not self._host.has_control:
            return ()
        try:
            return requests.modules(self._host.control())
        except (TransferError, RequestTimeout, requests.RequestRefused):
            return ()

    def is_image(self, image: Image) -> bool | None:
        """Whether the one application on the board is exactly ``image``; ``None`` when only a look over DFU tells."""
        table = self.modules()
        if table:
            parts = user_parts(table)
            if len(parts) != 1 or not matches(parts[0], image.module):
                return False
            if parts[0].sha256 is not None:
                return parts[0].sha256 == image.module.sha256
            if self._seen is not None and self._seen[0] == self._host.enumeration:
                return self._seen[1] == image.module.sha256
        for witness in self.witnesses if self._host.usb.mode is UsbMode.NORMAL else ():
            answer = witness(image)
            if answer is not None:
                return answer
        return None

    def healthy(self) -> bool | None:
        """Whether the board reports an application, and each as valid; ``None`` when it reports nothing."""
        if self._doubtful:
            return False
        table = self.modules()
        if not table:
            return None
        parts = user_parts(table)
        return bool(parts) and all(part.valid for part in parts)

    def saw(self, image: Image) -> None:
        """``image`` is on the board. Holds until the board enumerates anew: an update may come with any restart."""
        self._doubtful = False
        self._seen = (self._host.enumeration, image.module.sha256)

    def doubt(self) -> None:
        """Something was written that nobody looked at: the application is not healthy before the next flash."""
        self._doubtful = True
        self._seen = None


def user_parts(installed: tuple[InstalledModule, ...]) -> list[InstalledModule]:
    """The applications among a board's modules; Gen 3 has room for two."""
    return [module for module in installed if module.function in _APPLICATION and not module.factory]


def matches(there: InstalledModule, module: Module) -> bool:
    """Same kind, index, version and size; Device OS up to 5.5 leaves the CRC's 4 bytes out of the size."""
    same = (there.function, there.index, there.version) == (module.function, module.index, module.version)
    return same and there.valid and there.size in (module.size, module.size - CRC_SIZE)


def older_user_part(platform: Platform, module: Module) -> int | None:
    """The address of the user part of older releases, which a board would load as well; ``None`` without one.

    Gen 3 has it below the end of the newer part (USB fact sheet 5.1).
    """
    family = platform.family
    if family.later_user_part is None or module.start == family.user_part.start:
        return None
    return family.user_part.start


def holds(dfu: DfuUtil, module: Module) -> bool:
    """Whether the flash memory of a board in DFU mode holds ``module`` and no other application beside it.

    The end of the module, with its hash, tells most others apart; only then is all of it read. Raises ``FlashError``.
    """
    tail = dfu.upload(INTERNAL_FLASH, module.start + len(module.data) - _TAIL, _TAIL)
    if tail != module.data[-_TAIL:]:
        return False
    older = older_user_part(dfu.board.platform, module)
    if older is not None and older >= module.start + len(module.data):
        blank = b"\xff" * PREFIX_SIZE
        if dfu.upload(INTERNAL_FLASH, older, PREFIX_SIZE) != blank:
            return False
    return dfu.upload(INTERNAL_FLASH, module.start, len(module.data)) == module.data
