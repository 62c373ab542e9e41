"""Putting a user application onto a board over DFU. USB fact sheet 2.1, 5.1, 5.5, 7.1.

The image is judged before the board is touched; what counts as success is what the board says of itself
afterwards. A board found in DFU mode is as good as any: that is how a failed flash is recovered.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hil.device.modules import Dependency, Module, ModuleFunction, check_compatible
from hil.device.platforms import UsbMode
from hil.device.releases import SYSTEM_MODULE_VERSIONS
from hil.errors import BoardNotFound, FlashError, HilError, WireError
from hil.rig.images import Image, read_build, read_image
from hil.usb import requests
from hil.usb.control import RequestTimeout
from hil.usb.dfu import INTERNAL_FLASH, DfuUtil
from hil.usb.requests import InstalledModule
from hil.usb.transport import TransferError

if TYPE_CHECKING:
    from hil.rig.board import Board

Progress = Callable[[int, int], None]  # bytes so far, bytes in all

_BLANK = b"\xff" * 4096
_BOOT_WITHIN = 60.0
_RECOVER = "plug it in or reset it, then flash again: a board in DFU mode is fine"


@dataclass(frozen=True, slots=True)
class FlashReport:
    """What a flash did. ``written`` is false when the board ran exactly this already."""

    written: bool
    seconds: float
    image: Image


def as_image(board: Board, image: Image | Path | bytes) -> Image:
    """The image in a file or in bytes. Raises ``FlashError`` when it is broken."""
    if isinstance(image, Image):
        return image
    try:
        if isinstance(image, Path):
            return read_image(image.read_bytes(), image)
        return read_image(image)
    except (OSError, WireError) as error:
        raise _refused(board, error) from error


def flash(
    board: Board, image: Image, *, force: bool = False, progress: Progress | None = None
) -> FlashReport:
    """Flash ``image`` onto ``board`` unless it runs exactly this already (``force`` flashes all the same)."""
    started = time.monotonic()
    installed = _installed(board)
    check(board, image.module, installed)
    if not force and _runs_already(board, image, installed):
        return FlashReport(False, time.monotonic() - started, image)
    try:
        dfu = board.enter_dfu()
        _write(dfu, image.module, progress)
        board.leave_dfu(_BOOT_WITHIN, board.settle)
    except BoardNotFound as error:
        raise FlashError(f"{board} got lost while it was flashed", found=str(error), hint=_RECOVER) from error
    _confirm(board, image)
    return FlashReport(True, time.monotonic() - started, image)


def check(board: Board, module: Module, installed: tuple[InstalledModule, ...] = ()) -> None:
    """Whether ``board`` can run ``module``: platform, place, dependencies. Raises ``FlashError``."""
    try:
        check_compatible(module, board.platform, board.device_os)
    except WireError as error:
        raise _refused(board, error) from error
    for need in module.dependencies:
        have = _system_version(board, need, installed)
        if need.function is ModuleFunction.SYSTEM_PART and have is not None and have < need.version:
            raise FlashError(
                f"image does not suit {board}",
                expected=f"Device OS with {need}",
                found=f"Device OS {board.device_os} (version {have})",
                hint="build the image for this Device OS, or update the board",
            )


def _refused(board: Board, error: OSError | HilError) -> FlashError:
    if isinstance(error, HilError):
        return FlashError(
            f"{error.what}; nothing was written to {board}", expected=error.expected, found=error.found
        )
    return FlashError(f"cannot read the image for {board}", found=str(error))


def _system_version(board: Board, need: Dependency, installed: tuple[InstalledModule, ...]) -> int | None:
    """Version of the system part that ``need`` names: what the board says, else what its release should have."""
    for module in installed:
        if module.function is need.function and module.index == need.index and not module.factory:
            return module.version
    return SYSTEM_MODULE_VERSIONS.get(board.device_os)


def _installed(board: Board) -> tuple[InstalledModule, ...]:
    """The board's modules as it reports them; nothing when it cannot (DFU mode, Core, a stuck board)."""
    if board.usb.mode is UsbMode.DFU or not board.has_control:
        return ()
    try:
        return requests.modules(board.control())
    except (TransferError, RequestTimeout, requests.RequestRefused):
        return ()


def _runs_already(board: Board, image: Image, installed: tuple[InstalledModule, ...]) -> bool:
    """Whether the one application on the board is this very build.

    Device OS from 5.6 tells each module's hash. Older releases do not: there the probe names its build.
    """
    there = _user_parts(installed)
    if len(there) != 1 or not _matches(there[0], image.module):
        return False
    if there[0].sha256 is not None:
        return there[0].sha256 == image.module.sha256
    if image.build is None:
        return False
    running = board.firmware()
    return running is not None and running.build == image.build


def _user_parts(installed: tuple[InstalledModule, ...]) -> list[InstalledModule]:
    application = (ModuleFunction.USER_PART, ModuleFunction.MONOLITHIC)
    return [module for module in installed if module.function in application and not module.factory]


def _matches(there: InstalledModule, module: Module) -> bool:
    """Same kind, index, version and size; Device OS up to 5.5 leaves the CRC's 4 bytes out of the size."""
    same = (there.function, there.index, there.version) == (module.function, module.index, module.version)
    return same and there.valid and there.size in (module.size, module.size - 4)


def _write(dfu: DfuUtil, module: Module, progress: Progress | None) -> None:
    family = dfu.board.platform.family
    if family.later_user_part is not None and module.start != family.user_part.start:
        # Bootloaders that know the 256 KB part clear the old one themselves; others would load it first.
        dfu.download(INTERNAL_FLASH, family.user_part.start, _BLANK)
    data = module.data + b"\xff" * (-len(module.data) % family.image_alignment)
    report = None if progress is None else lambda done: progress(done, len(data))
    dfu.download(INTERNAL_FLASH, module.start, data, report)
    if family.read_back and dfu.upload(INTERNAL_FLASH, module.start, len(data)) != data:
        raise FlashError(f"{dfu.name} does not hold what was written", hint="flash again; look at the cable")


def flash_unchecked(board: Board, data: bytes, address: int) -> None:
    """Write ``data`` at ``address`` of internal flash without a look at it, as a bare ``dfu-util`` would.

    Raises ``FlashError`` with the cause when the board does not run what was written.
    """
    dfu = board.enter_dfu()
    dfu.download(INTERNAL_FLASH, address, data)
    board.leave_dfu(_BOOT_WITHIN, board.settle)
    running = board.firmware()
    written = read_build(data)
    if running is None or running.build != written:
        raise FlashError(
            f"{board} does not run what was written",
            expected=f"build {written}",
            found=_why_not(board, data),
            hint="flash an image that was built for this board",
        )


def _why_not(board: Board, data: bytes) -> str:
    """What is wrong with an image that a board does not run."""
    try:
        check(board, as_image(board, data).module)
    except FlashError as error:
        return "; ".join(part for part in (error.what, error.found) if part)
    return "an image without a visible fault"


def _confirm(board: Board, image: Image) -> None:
    """The board must say that the module is there and valid."""
    installed = _installed(board)
    if not installed:
        if board.has_control:
            raise FlashError(f"{board} does not tell its modules after the flash", hint=_RECOVER)
        return
    there = _user_parts(installed)
    good = [part for part in there if _matches(part, image.module)]
    if not good or (good[0].sha256 is not None and good[0].sha256 != image.module.sha256):
        raise FlashError(
            f"{board} does not run the image that was flashed",
            expected=str(image),
            found=", ".join(str(part) for part in there) or "no application",
            hint="flash again",
        )
