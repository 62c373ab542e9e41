"""What a rig file's tables say about each other, and what the virtual rack asks of its boards.

Works on the values as they were read, so that these mistakes are told together with those of single keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hil.device.platforms import PLATFORMS
from hil.rig.mistakes import Mistake, place, suggest
from hil.rig.tables import PORT, RELEASE

_Entries = list[tuple[tuple[int | str, ...], Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class RackLimits:
    """What the boards of a virtual rack can be: names of platforms, Device OS releases, USB ports."""

    platforms: tuple[str, ...]
    releases: tuple[str, ...]
    ports: tuple[str, ...]


def cross_checks(values: Mapping[str, Any], rack: RackLimits | None = None) -> list[Mistake]:
    """Two of the same, and with ``rack`` what it cannot be."""
    slots = _entries(values, "slots")
    virtual = values.get("virtual")
    boards = _entries(virtual, "boards", "virtual") if isinstance(virtual, Mapping) else []
    found = [*_doubles(slots, ("name", "port", "device_id")), *_doubles(boards, ("port", "device_id"))]
    if rack is not None:
        for where, entry in slots if virtual is None else boards:
            found += (Mistake((*where, key), what) for key, what in _beyond(entry, rack))
    return found


def _entries(table: Mapping[str, Any], key: str, *before: str) -> _Entries:
    listed = table.get(key)
    if not isinstance(listed, list):
        return []
    found: _Entries = []
    for number, entry in enumerate(listed):
        if isinstance(entry, Mapping):
            found.append(((*before, key, number), entry))
    return found


def _doubles(entries: _Entries, keys: tuple[str, ...]) -> Iterator[Mistake]:
    for key in keys:
        first: dict[str, str] = {}
        for where, entry in entries:
            value = entry.get(key)
            if not isinstance(value, str):
                continue
            if value in first:
                yield Mistake((*where, key), f"{first[value]} has {value!r} too")
            first.setdefault(value, place(where))


def _beyond(entry: Mapping[str, Any], rack: RackLimits) -> Iterator[tuple[str, str]]:
    """Keys of a virtual board that are right in themselves and too much for the rack."""
    platform, port, release = (str(entry.get(key)) for key in ("platform", "port", "device_os"))
    if platform not in rack.platforms and platform in {each.name for each in PLATFORMS}:
        yield "platform", f"there is no virtual {platform}; there are {', '.join(rack.platforms)}"
    if port not in rack.ports and PORT.fullmatch(port):
        yield "port", f"the virtual rack has the ports {rack.ports[0]} to {rack.ports[-1]}"
    if release not in rack.releases and RELEASE.fullmatch(release):
        known = ", ".join(rack.releases)
        yield "device_os", f"virtual boards know the releases {known}{suggest(release, rack.releases)}"
    if "device_id" not in entry:
        yield "device_id", "a virtual board needs one: 24 hex digits in lower case"
