"""What a test asks for, read from its markers: which boards, how many, with which features and application."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NoReturn

import pytest

from hil.device.platforms import PLATFORMS

BOARD_KEYS = ("features", "count")


@dataclass(frozen=True, slots=True)
class Application:
    """An application by name. ``version`` ``None`` stands for the newest there is."""

    name: str
    version: str | None = None

    def __str__(self) -> str:
        return self.name if self.version is None else f"{self.name} version {self.version}"


@dataclass(frozen=True, slots=True)
class Need:
    """What one test asks for.

    ``platforms`` empty means any. ``count`` boards of one platform, each with all of ``features``. ``application``
    ``None`` takes whatever runs. ``online``: handed out only once it is online at the cloud.
    """

    platforms: tuple[str, ...] = ()
    features: frozenset[str] = frozenset()
    count: int = 1
    application: Application | None = None
    online: bool = True

    def __str__(self) -> str:
        if self.count > 1:
            text = f"{self.count} boards of one platform"
            text += f" ({', '.join(self.platforms)})" if self.platforms else ""
        else:
            text = f"one of {', '.join(self.platforms)}" if self.platforms else "a board"
        return text + (f" with {', '.join(sorted(self.features))}" if self.features else "")


def need_of(node: pytest.Item | pytest.Function, default: Application | None) -> Need:
    """What ``node`` asks for; ``default`` is the application of tests that do not say.

    Ends the collection of the test's file with one line for a marker that cannot be meant.
    """
    board = node.get_closest_marker("board")
    arguments = dict(board.kwargs) if board is not None else {}
    platforms = tuple(board.args) if board is not None else ()
    place = node.nodeid
    _check_platforms(place, platforms)
    unknown = [key for key in arguments if key not in BOARD_KEYS]
    if unknown:
        _refuse(place, f"marker board has no {unknown[0]!r}; it has {' and '.join(BOARD_KEYS)}")
    return Need(
        platforms,
        _features(place, arguments.get("features", ())),
        _count(place, arguments.get("count", 1)),
        _application(node, default),
        node.get_closest_marker("offline") is None,
    )


def application(text: str) -> Application:
    """``"probe@1"`` or ``"probe"`` as an application."""
    name, _, version = text.partition("@")
    return Application(name, version or None)


def _application(node: pytest.Item | pytest.Function, default: Application | None) -> Application | None:
    marker = node.get_closest_marker("firmware")
    if marker is None:
        return default
    named = dict(zip(("name", "version"), marker.args, strict=False)) | dict(marker.kwargs)
    if len(marker.args) > 2 or set(named) - {"name", "version"} or "name" not in named:
        _refuse(node.nodeid, 'marker firmware takes a name and a version: firmware("greenhouse", version=2)')
    if named["name"] is None:
        return None
    found = application(str(named["name"]))
    version = named.get("version")
    if version is None:
        return found
    return Application(found.name, str(version))


def _check_platforms(place: str, platforms: Iterable[object]) -> None:
    known = [platform.name for platform in PLATFORMS]
    for name in platforms:
        if name not in known:
            _refuse(place, f"no platform {name!r}; known are {', '.join(known)}")


def _features(place: str, value: object) -> frozenset[str]:
    words = [value] if isinstance(value, str) else list(value) if isinstance(value, Iterable) else [value]
    if not all(isinstance(word, str) for word in words):
        _refuse(place, f'features is a set of words, such as {{"sim"}}, not {value!r}')
    return frozenset(words)


def _count(place: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        _refuse(place, f"count is how many boards the test needs, from 1 on, not {value!r}")
    return value


def _refuse(place: str, why: str) -> NoReturn:
    pytest.fail(f"{place}: {why}", pytrace=False)
