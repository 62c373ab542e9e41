"""Built firmware images: where they lie and what they say about themselves.

An image may name its application, version and build in its text (``HIL-APP:probe@1``, ``HIL-BUILD:<16 hex digits>``),
the same for real and virtual boards. One that does not has the name under which it was found.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hil.device.modules import CRC_SIZE, NO_PRODUCT, SUFFIX_SIZE, Module, parse, resign
from hil.device.platforms import Platform, by_id
from hil.errors import UsageError, WireError
from hil.rig.imagesources import (
    CompiledApplications,
    ImageFolder,
    NamedImage,
    NamedImages,
    Place,
    Source,
    named_by_option,
    version_key,
)
from hil.rig.rigfile import RigFile

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
    """The images of a run. The first source that has one is taken: the command line (``given``), the rig file
    (``named``), the folder of built images (``directory``), what was compiled in the folders of ``applications``.

    Each file is read once, and again when it changes. Relative paths of ``given`` and ``named`` are from ``root``.
    """

    def __init__(
        self,
        directory: Path,
        *,
        given: Sequence[NamedImage] = (),
        named: Sequence[NamedImage] = (),
        applications: Sequence[Path] = (),
        root: Path = Path(),
    ) -> None:
        self._sources: tuple[Source, ...] = (
            NamedImages(given, Path()),
            NamedImages(named, root),
            ImageFolder(directory),
            CompiledApplications(applications),
        )
        self._read: dict[tuple[Path, str, str | None], tuple[float, Image]] = {}

    @classmethod
    def of(cls, rig: RigFile, given: Sequence[str] = ()) -> FirmwareStore:
        """The store of ``rig``; ``given`` are the values of option ``--firmware``. Raises ``UsageError``."""
        named = [
            NamedImage(app, version or None, template, f"[firmware.images] {key} of rig {rig.name}")
            for key, template in rig.firmware.images.items()
            for app, _, version in [key.partition("@")]
        ]
        return cls(
            rig.firmware.directory,
            given=[named_by_option(text) for text in given],
            named=named,
            applications=rig.applications,
            root=rig.path(""),
        )

    def versions(self, app: str) -> list[str]:
        """The versions of ``app`` that are named anywhere, oldest first."""
        found = {version for source in self._sources for version in source.versions(app)}
        return sorted(found, key=version_key)

    def image(self, app: str, version: str | None, platform: Platform) -> Image:
        """The image of ``app`` for ``platform``; ``version`` ``None`` takes the newest of the first source with one.

        An image need not say its name and version; what it says must agree. Raises ``UsageError`` if there is none or
        it is another one, ``WireError`` if it is broken.
        """
        elsewhere: list[str] = []
        for source in self._sources:
            for place in source.places(app, version, platform.name):
                image = self._image(place, app, version)
                if image.module.platform_id == platform.id:
                    return image
                if not place.any_platform:
                    raise _contradiction(
                        place, f"an image for {platform.display}", f"one for {_platform_of(image)}"
                    )
                elsewhere.append(f"{place.path} is for {_platform_of(image)}")
        raise self._none(app, version, platform, elsewhere)

    def _none(self, app: str, version: str | None, platform: Platform, elsewhere: list[str]) -> UsageError:
        versions = self.versions(app)
        wanted = version or (versions[-1] if versions else "?")
        places = [source.expected(app, wanted, platform.name) for source in self._sources]
        found = f"versions {', '.join(versions)}" if versions else f"nothing of {app} in any of these places"
        return UsageError(
            f"no image of {app} for {platform.display}",
            expected=", or ".join(place for place in places if place),
            found="; ".join([*elsewhere, found]),
            hint=f"--firmware {app}=PATH names one, as does [firmware.images] in the rig file; "
            "images of virtual boards: `hil rack images`; more in firmware/README.md",
        )

    def _image(self, place: Place, app: str, version: str | None) -> Image:
        changed = place.path.stat().st_mtime
        key = place.path, app, version
        known = self._read.get(key)
        if known is None or known[0] != changed:
            known = self._read[key] = (changed, _named(_load(place.path), place, app, version))
        return known[1]


def _load(path: Path) -> Image:
    try:
        return read_image(path.read_bytes(), path)
    except WireError as error:
        raise WireError(
            f"image {path} is broken: {error.what}", expected=error.expected, found=error.found
        ) from error


def _named(image: Image, place: Place, app: str, version: str | None) -> Image:
    """``image`` with the name and version that it has been given. Raises ``UsageError`` if it says others."""
    wanted = version if version is not None else place.version
    product = image.module.product_version
    if image.app not in (None, app):
        raise _contradiction(place, f"application {app}", f"the image says {image.app}@{image.version}")
    if wanted is not None and image.version not in (None, wanted):
        raise _contradiction(place, f"{app} version {wanted}", f"the image says {image.app}@{image.version}")
    if product in (None, NO_PRODUCT):
        return replace(image, app=app, version=image.version or wanted)
    if wanted is not None and wanted.isdigit() and int(wanted) != product:
        raise _contradiction(place, f"{app} version {wanted}", f"PRODUCT_VERSION {product} in the image")
    return replace(image, app=app, version=image.version or wanted or str(product))


def _contradiction(place: Place, expected: str, found: str) -> UsageError:
    return UsageError(
        f"image {place.path} is not what was asked for",
        expected=expected,
        found=found,
        hint=f"correct {place.origin}, or build the image anew",
    )


def _platform_of(image: Image) -> str:
    try:
        return by_id(image.module.platform_id).display
    except KeyError:
        return f"platform {image.module.platform_id}"
