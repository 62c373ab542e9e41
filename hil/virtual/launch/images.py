"""Firmware images for virtual boards: the user parts that a rack flashes, the same bytes every time.

An image is a real user part (header, dependency, SHA-256, CRC) whose payload names the application; the board then
runs its twin, ``firmware/<app>/twin.py``. Facts: protocol fact sheet 5, USB fact sheet 5.1.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hil.device.modules import ModuleFunction, build
from hil.device.platforms import Platform, by_name
from hil.errors import UsageError
from hil.virtual.hardware.factory import TINKER_VERSION, application_payload, user_dependency
from hil.virtual.hardware.flash import write_atomically

IMAGE_SIZE = 16 * 1024
RACK = (("photon", "2.3.1"), ("electron", "3.3.1"), ("argon", "6.2.0"), ("boron", "2.3.1"))


@dataclass(frozen=True, slots=True)
class Release:
    """A version of an application that images are built of."""

    application: str
    version: int


RELEASES = (Release("probe", 1), Release("probe", 2), Release("blinker", 1))


def build_images(
    out_dir: Path,
    *,
    releases: Sequence[Release] = RELEASES,
    boards: Sequence[tuple[str, str]] = RACK,
) -> list[Path]:
    """Write ``<out_dir>/<app>@<version>/<platform>.bin`` for each release and board and return the paths.

    ``boards`` are pairs of platform name and Device OS. Raises ``UsageError`` for an application without a twin.
    """
    written = []
    for release in releases:
        for name, device_os in boards:
            path = out_dir / f"{release.application}@{release.version}" / f"{name}.bin"
            image = build_image(release, by_name(name), device_os)
            if not path.exists() or path.read_bytes() != image:
                write_atomically(path, image)
            written.append(path)
    return written


def build_image(release: Release, platform: Platform, device_os: str) -> bytes:
    """The user part of ``release`` for ``platform``, built against ``device_os``."""
    part = platform.user_part_for(device_os)
    payload = application_payload(release.application, release.version, build_hash(release))
    return build(
        platform.id,
        ModuleFunction.USER_PART,
        part.index,
        TINKER_VERSION,
        part.start,
        payload + _filler(payload, IMAGE_SIZE - len(payload)),
        (user_dependency(platform, device_os),),
    )


def build_hash(release: Release) -> str:
    """First 16 hex digits of SHA-256 over the twin's source and the version: other code, other build."""
    source = _twin_source(release.application)
    return hashlib.sha256(source + f"@{release.version}".encode()).hexdigest()[:16]


def _twin_source(application: str) -> bytes:
    name = f"firmware.{application}.twin"
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.origin is None:
        raise UsageError(
            f"no twin of application {application!r}", expected=f"firmware/{application}/twin.py"
        )
    return Path(spec.origin).read_bytes()


def _filler(seed: bytes, size: int) -> bytes:
    """Bytes that do not repeat, so that a lost or doubled chunk shows."""
    blocks = (hashlib.sha256(seed + number.to_bytes(4, "big")).digest() for number in range(size // 32 + 1))
    return b"".join(blocks)[:size]
