"""Who is online, since when, and every coming and going; readable and waitable from any thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from hil.cloud.state.journal import KEPT, Journal
from hil.device.platforms import Platform, Radio, Transport
from hil.device.releases import version_tuple

TCP_KEEP_ALIVE = 15.0  # seconds between pings of a quiet device (protocol fact sheet 1.5)
CELLULAR_KEEP_ALIVE = 23 * 60.0
WIFI_KEEP_ALIVE = 25.0
OLD_WIFI_KEEP_ALIVE = 30.0  # Gen 3 before 2.1.0


class ContactKind(StrEnum):
    """How a device came or went."""

    HELLO = "hello"
    RESUME = "resume"
    MOVED = "moved"
    OFFLINE = "offline"


@dataclass(frozen=True, slots=True)
class Contact:
    """One coming or going. ``at`` in seconds since 1970; ``detail`` says why a device went."""

    device_id: str
    kind: ContactKind
    at: float
    detail: str = ""

    @property
    def is_arrival(self) -> bool:
        return self.kind is not ContactKind.OFFLINE


class Presence:
    """The cloud's belief about its devices.

    ``now`` is the time of contacts, in seconds since 1970; the newest ``kept`` of them stay. ``heard`` counts
    authenticated messages per device: what "never reached the cloud" is judged by.
    """

    def __init__(self, now: Callable[[], float] = time.time, kept: int = KEPT) -> None:
        self._now = now
        self.contacts: Journal[Contact] = Journal(kept)
        self._online: set[str] = set()
        self._heard: dict[str, int] = {}

    def online(self, device_id: str) -> bool:
        """Whether the cloud believes that the device can be reached."""
        return device_id in self._online

    def heard(self, device_id: str) -> int:
        """How many authenticated messages came from the device."""
        return self._heard.get(device_id, 0)

    def note_heard(self, device_id: str) -> None:
        """An authenticated message came."""
        self._heard[device_id] = self.heard(device_id) + 1
        self.contacts.touch()

    def arrived(self, device_id: str, kind: ContactKind, detail: str = "") -> bool:
        """The device is online, by a new contact of ``kind``. True when it was offline before."""
        was_offline = device_id not in self._online
        self._online.add(device_id)
        self.contacts.append(Contact(device_id, kind, self._now(), detail))
        return was_offline

    def left(self, device_id: str, why: str) -> bool:
        """The device is offline. False when it was already."""
        if device_id not in self._online:
            return False
        self._online.discard(device_id)
        self.contacts.append(Contact(device_id, ContactKind.OFFLINE, self._now(), why))
        return True


def keep_alive_of(platform: Platform | None, transport: Transport, os_version: str | None) -> float:
    """Seconds of silence after which a device pings (protocol fact sheet 1.5 and 2.9)."""
    if transport is Transport.TCP:
        # Builds from 5.x on ping over TCP as rarely as over UDP (section 10).
        newer = os_version is not None and version_tuple(os_version) >= (4, 0, 0)
        return WIFI_KEEP_ALIVE if newer else TCP_KEEP_ALIVE
    if platform is None or platform.radio is Radio.CELLULAR:
        return CELLULAR_KEEP_ALIVE
    if os_version is not None and version_tuple(os_version) < (2, 1, 0):
        return OLD_WIFI_KEEP_ALIVE
    return WIFI_KEEP_ALIVE
