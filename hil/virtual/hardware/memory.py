"""Whose memory lies in a board's directory: it follows the platform and the Device OS release of the rig file.

``board.json`` beside the memories says what they are of. With another platform in the same place the memory is kept
aside, as ``<device id>.<platform>``, and taken up again when the rig goes back. With another release on the same
platform the system parts are replaced and everything else stays, as a real update leaves it (USB fact sheet 5.1).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from hil.device.platforms import Platform
from hil.device.releases import known_releases
from hil.virtual.hardware.factory import factory_module, system_slots
from hil.virtual.hardware.flash import write_atomically
from hil.virtual.hardware.loader import Boot, boot
from hil.virtual.hardware.machine import open_memories

_LABEL = "board.json"
_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Label:
    """What a board's memory is of."""

    platform: str
    device_os: str


@dataclass(frozen=True, slots=True)
class BoardMemory:
    """``directory`` has the memories. ``changes`` says what was done to them, a sentence each; mostly nothing."""

    directory: Path
    changes: tuple[str, ...] = ()


def take_memory(state: Path, device_id: str, platform: Platform, device_os: str) -> BoardMemory:
    """The memory of the board ``device_id`` below ``state``, made to fit; a new board begins from the factory."""
    directory = state / device_id
    changes = [*_follow_platform(directory, platform, device_os)]
    directory.mkdir(parents=True, exist_ok=True)
    label = _label(directory, platform, device_os)
    if label is not None and label.device_os != device_os:
        changes.append(_install_release(directory, platform, label.device_os, device_os))
    write_atomically(directory / _LABEL, json.dumps(asdict(Label(platform.name, device_os))).encode())
    return BoardMemory(directory, tuple(changes))


def _follow_platform(directory: Path, platform: Platform, device_os: str) -> list[str]:
    """Put another platform's memory aside, and bring back what was put aside for this one."""
    label = _label(directory, platform, device_os)
    if label is None or label.platform == platform.name:
        return []
    aside = _free(directory.with_name(f"{directory.name}.{label.platform}"))
    directory.rename(aside)
    kept = directory.with_name(f"{directory.name}.{platform.name}")
    begins = "begins from the factory"
    if kept.is_dir():
        kept.rename(directory)
        begins = "goes on with its own from before"
    was = "something else" if label.platform == _UNKNOWN else f"a {label.platform}"
    return [f"its memory was of {was} and is kept in {aside}; the {platform.name} {begins}"]


def _label(directory: Path, platform: Platform, device_os: str) -> Label | None:
    """What the memory in ``directory`` is of; ``None`` when there is none."""
    if not (directory / "dct.bin").exists():
        return None
    try:
        content = json.loads((directory / _LABEL).read_bytes())
        return Label(str(content["platform"]), str(content["device_os"]))
    except (OSError, ValueError, TypeError, LookupError):
        # From before there were labels: what the rig says, if that can start from it.
        fits = _boot(directory, platform, device_os).system_ok
        return Label(platform.name, device_os) if fits else Label(_UNKNOWN, device_os)


def _install_release(directory: Path, platform: Platform, old: str, new: str) -> str:
    internal = open_memories(platform, directory)[0]
    for slot in system_slots(platform, old) if old in known_releases() else ():
        internal.fill(slot.start, slot.max_size)
    for slot in system_slots(platform, new):
        internal.program(slot.start, factory_module(platform, slot))
    internal.flush()
    outcome = _boot(directory, platform, new)
    if outcome.user is None:
        effect = "keys are kept, its application is not one of this release"
    elif outcome.application is None:
        effect = "keys and application are kept, but that needs another release: safe mode until it is flashed anew"
    else:
        effect = "keys and application are kept"
    return f"its system parts were of Device OS {old} and are of {new} now; {effect}"


def _boot(directory: Path, platform: Platform, device_os: str) -> Boot:
    return boot(platform, device_os, open_memories(platform, directory)[0])


def _free(path: Path) -> Path:
    """``path``, or the first with a number that nothing has."""
    number = 1
    found = path
    while found.exists():
        number += 1
        found = path.with_name(f"{path.name}.{number}")
    return found
