"""Devices as the store has them, read so that a row that no longer parses costs what it said and nothing else.

Who wrote such a row may be an older release, a device that found a hole, or a hand with ``sqlite3``. The device itself
can be asked again, so a cloud starts without it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TypeVar

from hil.cloud.state.devices import Device, parse_hello, parse_system
from hil.cloud.state.store import Row
from hil.device.platforms import Transport
from hil.errors import WireError
from hil.wire.messages import Subscription
from hil.wire.messages.description import ApplicationDescribe

Said = TypeVar("Said")
_PLAIN = (
    *("id", "name", "owner", "platform_id", "created_at", "product_id", "product_version", "notes"),
    *("last_handshake", "last_heard", "last_ip", "vitals", "vitals_at", "keep_alive"),
)


class Unreadable:
    """Counts what could not be read: ``lines`` holds a device id and words for its log for each."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def device(self, row: Row) -> Device:
        """The device in a row of ``devices``; ``describe_anew`` when a stored description is lost."""
        device = Device(**{key: row[key] for key in _PLAIN})
        device.hello = parse_hello(_blob(row["hello"]))
        device.system = self._described(
            device, "modules", row["system"], lambda payload: parse_system(payload, row["system_format"])
        )
        device.application = self._described(
            device, "application", row["application"], ApplicationDescribe.from_json
        )
        return device

    def subscription(self, row: Row) -> Subscription | None:
        """The subscription in a row of ``device_subscriptions``."""
        try:
            flags = frozenset(str(flag) for flag in json.loads(row["flags"]))
        except (ValueError, TypeError, RecursionError):
            self._lost(row["device_id"], f"subscription to {row['prefix']!r}", "its flags are no list")
            return None
        return Subscription(row["prefix"], row["device_filter"] or None, flags)

    def transport(self, row: Row) -> Transport | None:
        """The transport of a row of ``device_keys``."""
        try:
            return Transport(row["transport"])
        except ValueError:
            self._lost(row["device_id"], "key", f"for no transport: {row['transport']!r}")
            return None

    def _described(
        self, device: Device, what: str, stored: object, parse: Callable[[bytes], Said]
    ) -> Said | None:
        payload = _blob(stored)
        if payload is None:
            return None
        try:
            return parse(payload)
        except WireError as error:
            device.describe_anew = True
            self._lost(device.id, f"description of its {what}", f"{error.what}; the device is asked again")
            return None

    def _lost(self, device_id: str, what: str, why: str) -> None:
        self.lines.append((device_id, f"the stored {what} does not parse: {why}"))


def _blob(stored: object) -> bytes | None:
    """A column's bytes; SQLite keeps whatever type it was given."""
    if stored is None or isinstance(stored, bytes):
        return stored
    return str(stored).encode("utf-8", "replace")
