"""Where built images lie: named one by one, in a folder by convention, or where Particle's tools leave them.

A source only knows paths; what an image says of itself is for the store that reads it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hil.errors import UsageError

_OPTION = re.compile(r"([A-Za-z0-9_.-]+)(?:@([A-Za-z0-9_.-]+))?=(.+)")
_PLATFORM = "{platform}"


@dataclass(frozen=True, slots=True)
class Place:
    """A file that should be the image. ``version`` is ``None`` where nothing but the image itself tells it.

    ``any_platform``: nothing in the path names the platform, so a file for another one is no mistake.
    """

    path: Path
    version: str | None
    origin: str
    any_platform: bool = False


class Source(Protocol):
    """One way to find images. ``expected`` says where it looks, for an error."""

    def places(self, app: str, version: str | None, platform: str) -> list[Place]: ...

    def versions(self, app: str) -> list[str]: ...

    def expected(self, app: str, version: str, platform: str) -> str: ...


@dataclass(frozen=True, slots=True)
class NamedImage:
    """``app`` (in one ``version``, or in any) lies at ``template``; ``{platform}`` is to be filled in."""

    app: str
    version: str | None
    template: str
    origin: str


def named_by_option(text: str) -> NamedImage:
    """``NAME[@VERSION]=PATH`` of option ``--firmware``. Raises ``UsageError``."""
    found = _OPTION.fullmatch(text)
    if found is None:
        raise UsageError(
            f"--firmware {text} is not understood",
            expected="NAME=PATH or NAME@VERSION=PATH, such as greenhouse@2=build/{platform}.bin",
        )
    return NamedImage(found[1], found[2], found[3], f"--firmware {text}")


class NamedImages:
    """Images named one by one. An exact version goes before an entry without one; of several, the newest."""

    def __init__(self, entries: Sequence[NamedImage], root: Path) -> None:
        self._entries = entries
        self._root = root

    def places(self, app: str, version: str | None, platform: str) -> list[Place]:
        """Every entry that applies. Raises ``UsageError`` for one whose file is not there: it was asked for."""
        return [self._place(entry, platform) for entry in self._wanted(app, version)]

    def versions(self, app: str) -> list[str]:
        return [entry.version for entry in self._entries if entry.app == app and entry.version is not None]

    def expected(self, app: str, version: str, platform: str) -> str:
        del version, platform
        return ", ".join(entry.origin for entry in self._entries if entry.app == app)

    def _wanted(self, app: str, version: str | None) -> list[NamedImage]:
        entries = [entry for entry in self._entries if entry.app == app]
        unversioned = [entry for entry in entries if entry.version is None]
        if version is None:
            newest = max(self.versions(app), key=version_key, default=None)
            return unversioned or [entry for entry in entries if entry.version == newest]
        return [entry for entry in entries if entry.version == version] or unversioned

    def _place(self, entry: NamedImage, platform: str) -> Place:
        path = self._root / entry.template.replace(_PLATFORM, platform)
        if not path.is_file():
            raise UsageError(
                f"no image of {entry.app} for {platform}",
                expected=str(path),
                found="no such file",
                hint=f"correct {entry.origin}, or build the image",
            )
        return Place(path, entry.version, entry.origin, any_platform=_PLATFORM not in entry.template)


class ImageFolder:
    """``<directory>/<app>@<version>/<platform>.bin``."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def places(self, app: str, version: str | None, platform: str) -> list[Place]:
        wanted = version if version is not None else max(self.versions(app), key=version_key, default=None)
        path = self._directory / f"{app}@{wanted}" / f"{platform}.bin"
        return [Place(path, wanted, str(path))] if wanted is not None and path.is_file() else []

    def versions(self, app: str) -> list[str]:
        return [path.name.partition("@")[2] for path in self._directory.glob(f"{app}@*") if path.is_dir()]

    def expected(self, app: str, version: str, platform: str) -> str:
        return str(self._directory / f"{app}@{version}" / f"{platform}.bin")


class CompiledApplications:
    """``<folder>/<app>/target/<Device OS>/<platform>/<app>.bin``: where a local compile of Particle's tools ends."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders

    def places(self, app: str, version: str | None, platform: str) -> list[Place]:
        """The one build there is. Raises ``UsageError`` when there are several: nobody can know which is meant."""
        del version
        pattern = f"{app}/target/*/{platform}/{app}.bin"
        found = [path for folder in self._folders for path in sorted(folder.glob(pattern))]
        if len(found) > 1:
            raise UsageError(
                f"several images of {app} for {platform}",
                found=", ".join(map(str, found)),
                hint=f"name one: --firmware {app}=PATH, or {app} in [firmware.images] of the rig file",
            )
        return [Place(path, None, str(path)) for path in found]

    def versions(self, app: str) -> list[str]:
        del app
        return []

    def expected(self, app: str, version: str, platform: str) -> str:
        del version
        return ", ".join(
            str(folder / app / "target" / "*" / platform / f"{app}.bin") for folder in self._folders
        )


def version_key(version: str) -> list[tuple[int, int, str]]:
    """Orders versions: numbers as numbers, and before words."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"[.-]", version)]
