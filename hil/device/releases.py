"""Device OS releases: their order, and the system module version that each one carries.

Versions from the protocol fact sheet, section 3.2: they are not the release written as digits.
"""

from __future__ import annotations

from difflib import get_close_matches

from hil.errors import UsageError

# Release -> version of its system modules, which is what Hello and Describe say. Oldest first.
SYSTEM_MODULE_VERSIONS: dict[str, int] = {
    "2.3.1": 2302,
    "3.0.0": 3005,
    "3.1.0": 3103,
    "3.3.1": 3302,
    "4.0.0": 4003,
    "5.0.0": 5002,
    "5.5.0": 5501,
    "5.9.0": 5901,
    "6.2.0": 6200,
}
_RELEASES = {version: release for release, version in SYSTEM_MODULE_VERSIONS.items()}


class UnknownRelease(UsageError):
    """A Device OS release that is not in the table."""

    def __init__(self, release: str) -> None:
        close = get_close_matches(release, known_releases(), 1)
        super().__init__(
            "unknown Device OS release",
            expected=f"one of {', '.join(known_releases())}",
            found=repr(release),
            hint=f"did you mean {close[0]}?" if close else "",
        )


def known_releases() -> tuple[str, ...]:
    """Every release whose system module version is known, oldest first."""
    return tuple(SYSTEM_MODULE_VERSIONS)


def system_module_version(release: str) -> int:
    """The version of the system modules of ``release``. Raises ``UnknownRelease``, a ``UsageError``."""
    try:
        return SYSTEM_MODULE_VERSIONS[release]
    except KeyError:
        raise UnknownRelease(release) from None


def release_of(system_version: int) -> str | None:
    """The release that carries ``system_version``, or ``None`` for one that is not in the table."""
    return _RELEASES.get(system_version)


def version_tuple(version: str) -> tuple[int, ...]:
    """``"6.2.0"`` as ``(6, 2, 0)``; a pre-release suffix (``-rc.1``) is left out."""
    return tuple(int(part) for part in version.split("-", 1)[0].split("."))
