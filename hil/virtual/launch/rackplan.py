"""Which boards a virtual rack holds, as its rig file says.

The ``[virtual]`` table lists them (``boards``: port, platform, device_os, device_id); without it they are the slots of
the rig themselves. The rest of a rig file is the harness's, which checks it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hil.device.platforms import PLATFORMS, Platform, by_name
from hil.errors import UsageError

_DEVICE_ID = re.compile(r"[0-9a-f]{24}")
_KEYS = ("port", "platform", "device_os", "device_id")


@dataclass(frozen=True, slots=True)
class PlannedBoard:
    """One board: where it is plugged in and what it is. ``slot`` is the rig's name for the place."""

    slot: str
    port: str
    platform: Platform
    device_os: str
    device_id: str


@dataclass(frozen=True, slots=True)
class RackPlan:
    """A whole rack. ``images`` is where firmware images are built."""

    rig: Path
    boards: tuple[PlannedBoard, ...]
    images: Path


def read_plan(rig: Path) -> RackPlan:
    """Reads ``rig``. Raises ``UsageError`` with the place of the mistake."""
    try:
        text = rig.read_text()
    except OSError as error:
        raise UsageError(
            f"cannot read the rig file {rig}", found=str(error.strerror), hint="see --rig"
        ) from error
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{rig} is not TOML", found=str(error)) from error
    slots = tables.get("slots", [])
    listed = tables.get("virtual", {}).get("boards", slots)
    if not isinstance(listed, list) or not listed:
        raise UsageError(f"{rig} names no boards", hint="add [[slots]], or boards to [virtual]")
    names = {slot.get("port"): slot.get("name") for slot in slots if isinstance(slot, dict)}
    boards = tuple(_board(rig, number, entry, names) for number, entry in enumerate(listed, start=1))
    _refuse_doubles(rig, boards)
    images = Path(tables.get("firmware", {}).get("directory", ".hil/images"))
    return RackPlan(rig.resolve(), boards, images)


def _board(rig: Path, number: int, entry: Any, names: Mapping[Any, Any]) -> PlannedBoard:
    if not isinstance(entry, dict) or not all(isinstance(entry.get(key), str) for key in _KEYS):
        raise UsageError(
            f"{rig}: virtual board {number} is incomplete", expected=", ".join(_KEYS), found=str(entry)
        )
    try:
        platform = by_name(entry["platform"])
    except KeyError:
        known = ", ".join(one.name for one in PLATFORMS)
        raise UsageError(f"{rig}: virtual board {number}", expected=known, found=entry["platform"]) from None
    if not _DEVICE_ID.fullmatch(entry["device_id"]):
        raise UsageError(
            f"{rig}: virtual board {number}",
            expected="a device id of 24 hex digits",
            found=entry["device_id"],
        )
    slot = names.get(entry["port"]) or f"virtual-{number}"
    return PlannedBoard(slot, entry["port"], platform, entry["device_os"], entry["device_id"])


def _refuse_doubles(rig: Path, boards: tuple[PlannedBoard, ...]) -> None:
    for what in ("port", "device_id"):
        values = [getattr(board, what) for board in boards]
        if len(set(values)) != len(values):
            raise UsageError(f"{rig}: two virtual boards have the same {what}", found=", ".join(values))
