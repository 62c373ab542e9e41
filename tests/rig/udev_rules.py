"""As much of udevd as the harness's rules use: files in the order of their names, matches, the last assignment wins.

udev(7) is the source: a line acts when all of its matches hold, ``=`` sets, ``+=`` adds, ``$env{KEY}`` is filled in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

_PART = re.compile(r'([A-Z]+)(?:\{([^}]+)\})?\s*(==|!=|\+=|=)\s*"([^"]*)"')


@dataclass
class Device:
    """A device before its rules, and after them. ``parents``: attributes of the devices above it."""

    subsystem: str
    kernel: str
    properties: dict[str, str]
    attributes: Mapping[str, str] = field(default_factory=dict)
    parents: Mapping[str, str] = field(default_factory=dict)
    group: str = "root"
    mode: str = ""
    links: list[str] = field(default_factory=list)
    tags: set[str] = field(default_factory=set)

    def look(self, key: str, name: str) -> str:
        """What a match key sees."""
        above = {**self.parents, **self.attributes}
        return {
            "SUBSYSTEM": self.subsystem,
            "KERNEL": self.kernel,
            "ENV": self.properties.get(name, ""),
            "ATTR": self.attributes.get(name, ""),
            "ATTRS": above.get(name, ""),
        }[key]

    def set(self, key: str, name: str, value: str) -> None:
        """What an assignment does."""
        value = re.sub(r"\$env\{([^}]+)\}", lambda found: self.properties.get(found[1], ""), value)
        if key == "ENV":
            self.properties[name] = value
        elif key == "GROUP":
            self.group = value
        elif key == "MODE":
            self.mode = value
        elif key == "SYMLINK":
            self.links.append(value)
        elif key == "TAG":
            self.tags.add(value)
        else:
            raise AssertionError(f"a key that this does not know: {key}")


def settle(files: Mapping[str, str], device: Device) -> Device:
    """``device`` after the rules in ``files``, which are texts by file name."""
    for name in sorted(files):
        for line in files[name].splitlines():
            parts = [] if line.startswith("#") else _PART.findall(line)
            matches = [part for part in parts if part[2] in ("==", "!=")]
            if all(_holds(device, *part) for part in matches):
                for key, inner, operator, value in parts:
                    if operator in ("=", "+="):
                        device.set(key, inner, value)
    return device


def _holds(device: Device, key: str, name: str, operator: str, value: str) -> bool:
    return fnmatchcase(device.look(key, name), value) is (operator == "==")
