"""Putting a user application onto a board over DFU. USB fact sheet 2.1, 5.1, 5.5, 7.1.

The image is judged before the board is touched; what counts as success is what the board says of itself
afterwards. A board found in DFU mode is as good as any: that is how a failed flash is recovered.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hil.device.modules import Dependency, Module, ModuleFunction, check_compatible, parse
from hil.device.platforms import Platform
from hil.device.releases import SYSTEM_MODULE_VERSIONS
from hil.errors import BoardNotFound, FlashError, HilError, ImageRefused, NotRunning, WireError
from hil.rig.images import Image, read_build, read_image
from hil.rig.installed import InstalledApplication, holds, matches, older_user_part, user_parts
from hil.usb.dfu import INTERNAL_FLASH, DfuUtil
from hil.usb.requests import InstalledModule

Progress = Callable[[int, int], None]  # bytes so far, bytes in all

_BLANK = b"\xff" * 4096
_BOOT_WITHIN = 60.0
_RECOVER = "plug it in or reset it, then flash again: a board in DFU mode is fine"


class FlashTarget(Protocol):
    """What flashing needs of a board. ``settle``: seconds that it must stay in one mode after a flash."""

    settle: float

    @property
    def platform(self) -> Platform: ...

    @property
    def device_os(self) -> str: ...

    @property
    def has_control(self) -> bool: ...

    @property
    def application(self) -> InstalledApplication: ...

    def enter_dfu(self) -> DfuUtil: ...

    def leave_dfu(self, within: float, stable: float) -> None: ...

    def running_build(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class FlashReport:
    """What a flash did. ``written`` is false when the board ran exactly this already."""

    written: bool
    seconds: float
    image: Image


def as_image(board: FlashTarget, image: Image | Path | bytes) -> Image:
    """The image in a file or in bytes. Raises ``ImageRefused`` when it is broken."""
    if isinstance(image, Image):
        return image
    try:
        if isinstance(image, Path):
            return read_image(image.read_bytes(), image)
        return read_image(image)
    except (OSError, WireError) as error:
        raise _refused(board, error) from error


def flash(
    board: FlashTarget, image: Image, *, force: bool = False, progress: Progress | None = None
) -> FlashReport:
    """Flash ``image`` onto ``board`` unless it has exactly this already (``force`` flashes all the same).

    Where only a look over DFU can tell, the look and the writing share one visit to DFU mode.
    """
    started = time.monotonic()
    check(board, image.module, board.application.modules())
    there = False if force else board.application.is_image(image)
    if not there:
        there = _flash(board, image, progress, look_first=there is None)
        _confirm(board, image)
        board.application.saw(image)
    return FlashReport(not there, time.monotonic() - started, image)


def _flash(board: FlashTarget, image: Image, progress: Progress | None, *, look_first: bool) -> bool:
    """Write ``image`` in DFU mode; with ``look_first`` only if it is not there. True if it was there."""
    try:
        dfu = board.enter_dfu()
        there = look_first and holds(dfu, image.module)
        if not there:
            board.application.doubt()
            _write(dfu, image.module, progress)
        board.leave_dfu(_BOOT_WITHIN, board.settle)
    except BoardNotFound as error:
        raise FlashError(f"{board} got lost while it was flashed", found=str(error), hint=_RECOVER) from error
    return there


def runs(board: FlashTarget, image: Image) -> bool:
    """Whether the one application on ``board`` is exactly ``image``; looks over DFU only if nothing else can tell.

    The board ends in normal mode. Raises ``FlashError``.
    """
    there = board.application.is_image(image)
    if there is None:
        there = holds(board.enter_dfu(), image.module)
        board.leave_dfu(_BOOT_WITHIN, board.settle)
        if there:
            board.application.saw(image)
    return there


def check(board: FlashTarget, module: Module, installed: tuple[InstalledModule, ...] = ()) -> None:
    """Whether ``board`` can run ``module``: platform, place, dependencies. Raises ``ImageRefused``."""
    try:
        check_compatible(module, board.platform, board.device_os)
    except WireError as error:
        raise _refused(board, error) from error
    for need in module.dependencies:
        have = _system_version(board, need, installed)
        if need.function is ModuleFunction.SYSTEM_PART and have is not None and have < need.version:
            raise ImageRefused(
                f"image does not suit {board}",
                expected=f"Device OS with {need}",
                found=f"Device OS {board.device_os} (version {have})",
                hint="build the image for this Device OS, or update the board",
            )


def _refused(board: FlashTarget, error: OSError | HilError) -> ImageRefused:
    if isinstance(error, HilError):
        return ImageRefused(
            f"{error.what}; nothing was written to {board}", expected=error.expected, found=error.found
        )
    return ImageRefused(f"cannot read the image for {board}", found=str(error))


def _system_version(
    board: FlashTarget, need: Dependency, installed: tuple[InstalledModule, ...]
) -> int | None:
    """Version of the system part that ``need`` names: what the board says, else what its release should have."""
    for module in installed:
        if module.function is need.function and module.index == need.index and not module.factory:
            return module.version
    return SYSTEM_MODULE_VERSIONS.get(board.device_os)


def _write(dfu: DfuUtil, module: Module, progress: Progress | None) -> None:
    family = dfu.board.platform.family
    older = older_user_part(dfu.board.platform, module)
    if older is not None:
        # Bootloaders that know the 256 KB part clear the old one themselves; others would load it first.
        dfu.download(INTERNAL_FLASH, older, _BLANK)
    data = module.data + b"\xff" * (-len(module.data) % family.image_alignment)
    report = None if progress is None else lambda done: progress(done, len(data))
    dfu.download(INTERNAL_FLASH, module.start, data, report)
    if family.read_back and dfu.upload(INTERNAL_FLASH, module.start, len(data)) != data:
        raise FlashError(f"{dfu.name} does not hold what was written", hint="flash again; look at the cable")


def flash_unchecked(board: FlashTarget, data: bytes, address: int) -> None:
    """Write ``data`` at ``address`` of internal flash without a look at it, as a bare ``dfu-util`` would.

    Raises ``NotRunning`` with the cause when the board does not run what was written.
    """
    dfu = board.enter_dfu()
    board.application.doubt()
    dfu.download(INTERNAL_FLASH, address, data)
    board.leave_dfu(_BOOT_WITHIN, board.settle)
    written = read_build(data)
    if not _reports(board, data) or (written is not None and board.running_build() != written):
        raise NotRunning(
            f"{board} does not run what was written",
            expected=f"build {written}" if written is not None else f"an application of {len(data)} bytes",
            found=_why_not(board, data),
            hint="flash an image that was built for this board",
        )


def _reports(board: FlashTarget, data: bytes) -> bool:
    """Whether the board reports the module in ``data`` among its applications, as valid; true if it cannot tell."""
    table = board.application.modules()
    try:
        module = parse(data, verify=False)
    except WireError:
        return False
    return not table or any(matches(part, module) for part in user_parts(table))


def _why_not(board: FlashTarget, data: bytes) -> str:
    """What is wrong with an image that a board does not run."""
    try:
        check(board, as_image(board, data).module)
    except ImageRefused as error:
        return "; ".join(part for part in (error.what, error.found) if part)
    return "an image without a visible fault"


def _confirm(board: FlashTarget, image: Image) -> None:
    """The board must say that the module is there and valid."""
    installed = board.application.modules()
    if not installed:
        if board.has_control:
            raise FlashError(f"{board} does not tell its modules after the flash", hint=_RECOVER)
        return
    there = user_parts(installed)
    good = [part for part in there if matches(part, image.module)]
    if not good or (good[0].sha256 is not None and good[0].sha256 != image.module.sha256):
        raise NotRunning(
            f"{board} does not run the image that was flashed",
            expected=str(image),
            found=", ".join(str(part) for part in there) or "no application",
            hint="flash again",
        )
