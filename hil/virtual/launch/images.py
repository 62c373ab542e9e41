"""Firmware images for virtual boards: the user parts that a rack flashes, the same bytes every time.

An image is a real user part (header, dependency, SHA-256, CRC) whose payload names the application; the board then
runs its twin. There is one for every version that a twin in the library declares (``VERSIONS``). Facts: protocol fact
sheet 5, USB fact sheet 5.1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hil.device.modules import ModuleFunction, build
from hil.device.platforms import Platform
from hil.device.releases import version_tuple
from hil.virtual.app.library import ApplicationLibrary
from hil.virtual.hardware.factory import TINKER_VERSION, application_payload, user_dependency
from hil.virtual.hardware.flash import write_atomically

IMAGE_SIZE = 16 * 1024


@dataclass(frozen=True, slots=True)
class Release:
    """A version of an application that images are built of."""

    application: str
    version: int


def releases(library: ApplicationLibrary) -> list[Release]:
    """Every version of every application that has a twin. Raises ``UsageError`` for a twin that cannot be loaded."""
    return [Release(name, version) for name in library.names() for version in library.load(name).VERSIONS]


def build_images(
    out_dir: Path, library: ApplicationLibrary, boards: Iterable[tuple[Platform, str]]
) -> list[Path]:
    """Write ``<out_dir>/<app>@<version>/<platform>.bin`` for all there is and return the paths.

    ``boards`` are pairs of platform and Device OS; of two releases on one platform the older one is built against, for
    what needs the older one runs on both. What has not changed is not written again. Raises ``UsageError``.
    """
    targets = _oldest(boards)
    written = []
    for release in releases(library):
        for platform, device_os in targets.items():
            path = out_dir / f"{release.application}@{release.version}" / f"{platform.name}.bin"
            image = build_image(release, platform, device_os, library)
            if not path.exists() or path.read_bytes() != image:
                write_atomically(path, image)
            written.append(path)
    return written


def build_image(
    release: Release, platform: Platform, device_os: str, library: ApplicationLibrary | None = None
) -> bytes:
    """The user part of ``release`` for ``platform``, built against ``device_os``; the harness's own without a library.

    Raises ``NoTwin``.
    """
    known = library or ApplicationLibrary()
    part = platform.user_part_for(device_os)
    hash_ = known.build_hash(release.application, release.version)
    payload = application_payload(release.application, release.version, hash_)
    return build(
        platform.id,
        ModuleFunction.USER_PART,
        part.index,
        TINKER_VERSION,
        part.start,
        payload + _filler(payload, IMAGE_SIZE - len(payload)),
        (user_dependency(platform, device_os),),
    )


def _oldest(boards: Iterable[tuple[Platform, str]]) -> dict[Platform, str]:
    found: dict[Platform, str] = {}
    for platform, device_os in boards:
        known = found.get(platform)
        if known is None or version_tuple(device_os) < version_tuple(known):
            found[platform] = device_os
    return found


def _filler(seed: bytes, size: int) -> bytes:
    """Bytes that do not repeat, so that a lost or doubled chunk shows."""
    blocks = (hashlib.sha256(seed + number.to_bytes(4, "big")).digest() for number in range(size // 32 + 1))
    return b"".join(blocks)[:size]
