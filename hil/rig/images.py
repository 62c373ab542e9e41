"""Built firmware images: where they lie and what they say about themselves.

An image names its application, version and build in its text (``HIL-APP:probe@1``, ``HIL-BUILD:<16 hex digits>``),
the same for real and virtual boards.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from hil.device.modules import CRC_SIZE, SUFFIX_SIZE, Module, parse, resign
from hil.device.platforms import Platform
from hil.errors import UsageError, WireError

_SUFFIX = SUFFIX_SIZE + CRC_SIZE
_APP = re.compile(rb"HIL-APP:([\w.-]+)@([\w.-]+)\n")
_BUILD = re.compile(rb"HIL-BUILD:([0-9a-f]{16})\n")


@dataclass(frozen=True, slots=True)
class Image:
    """A user application for one platform. ``app``, ``version`` and ``build`` are ``None`` if it does not tell."""

    path: Path | None
    module: Module
    app: str | None
    version: str | None
    build: str | None

    @property
    def data(self) -> bytes:
        """The whole file."""
        return self.module.data

    def padded(self, size: int) -> Image:
        """The same application in a file of ``size`` bytes, for tests that need a transfer to take its time."""
        filler = b"\xa5" * (size - len(self.data))
        place = self.module.prefix_offset
        head, tail = bytearray(self.data[:-_SUFFIX]), self.data[-_SUFFIX:]
        head[place + 4 : place + 8] = (self.module.end + len(filler)).to_bytes(4, "little")
        return read_image(resign(bytes(head) + filler + tail))

    @property
    def name(self) -> str:
        """Application and version, such as ``probe@2``."""
        return f"{self.app}@{self.version}" if self.app else "image"

    def __str__(self) -> str:
        return f"{self.name} ({self.module})"


def read_image(data: bytes, path: Path | None = None) -> Image:
    """The image in ``data``. Raises ``WireError`` that says what is broken in it."""
    module = parse(data)
    app, build = _APP.search(data), _BUILD.search(data)
    return Image(
        path,
        module,
        app[1].decode() if app else None,
        app[2].decode() if app else None,
        build[1].decode() if build else None,
    )


def read_build(data: bytes) -> str | None:
    """The build that ``data`` names, whole image or not."""
    build = _BUILD.search(data)
    return build[1].decode() if build else None


class FirmwareStore:
    """Images in a directory, as ``<app>@<version>/<platform>.bin``. Each is read once, and again when it changes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._read: dict[Path, tuple[float, Image]] = {}

    def versions(self, app: str) -> list[str]:
        """The versions of ``app`` there are, oldest first."""
        found = [path.name.partition("@")[2] for path in self.directory.glob(f"{app}@*") if path.is_dir()]
        return sorted(found, key=_version_key)

    def image(self, app: str, version: str | None, platform: Platform) -> Image:
        """The image of ``app`` for ``platform``; ``version`` ``None`` takes the newest.

        Raises ``UsageError`` if there is none, ``WireError`` if it is broken.
        """
        versions = self.versions(app)
        wanted = version if version is not None else (versions[-1] if versions else "?")
        path = self.directory / f"{app}@{wanted}" / f"{platform.name}.bin"
        try:
            changed = path.stat().st_mtime
        except FileNotFoundError as error:
            raise UsageError(
                f"no image of {app} for {platform.display}",
                expected=str(path),
                found=f"versions {', '.join(versions)}"
                if versions
                else f"nothing of {app} in {self.directory}",
                hint="virtual boards: `hil rack images`; real boards: firmware/README.md",
            ) from error
        known = self._read.get(path)
        if known is None or known[0] != changed:
            known = (changed, self._load(path))
            self._read[path] = known
        return known[1]

    def _load(self, path: Path) -> Image:
        try:
            return read_image(path.read_bytes(), path)
        except WireError as error:
            raise WireError(
                f"image {path} is broken: {error.what}", expected=error.expected, found=error.found
            ) from error


def _version_key(version: str) -> list[tuple[int, int, str]]:
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"[.-]", version)]
