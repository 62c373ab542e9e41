"""The last messages between the cloud and its devices as they were before encryption, kept as evidence."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from hil.cloud.session.link import Link
from hil.device.platforms import Transport
from hil.wire.messages.words import in_words

KEPT = 4096  # messages
_FIRST = 64  # of all messages, how many a Hello and what goes with it are surely among
_KEPT_BYTES = 256  # of each: a chunk of firmware explains nothing


@dataclass(slots=True)
class Passed:
    """A message that passed. ``at`` in seconds since 1970; ``size`` in bytes, of which ``data`` is the beginning.

    ``device_id`` is ``None`` before the device has said who it is.
    """

    at: float
    link: str
    device_id: str | None
    upward: bool
    data: bytes
    size: int

    def __str__(self) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(self.at))
        arrow = "board -> cloud" if self.upward else "cloud -> board"
        return f"{clock}.{int(self.at * 1000) % 1000:03d}  {arrow}  {in_words(self.data, self.size)}"


class Traffic:
    """The last ``KEPT`` messages of all sessions. ``now`` gives the seconds since 1970."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._passed: deque[Passed] = deque(maxlen=KEPT)

    def note(self, link: Link, device_id: str | None, data: bytes, *, upward: bool) -> None:
        """A message over ``link``; ``upward`` is from the device."""
        self._passed.append(Passed(self._now(), link.name, device_id, upward, data[:_KEPT_BYTES], len(data)))

    def name(self, link: Link, device_id: str) -> None:
        """``link`` is that device's, which nobody knew when its first messages passed."""
        for passed in islice(reversed(self._passed), _FIRST):
            if passed.link == link.name:
                passed.device_id = device_id

    def of(self, device_id: str, since: float = 0.0) -> list[Passed]:
        """The messages of a device from ``since`` on (seconds since 1970), oldest first."""
        return [each for each in self._passed if each.device_id == device_id and each.at >= since]


class OverheardLink:
    """A link whose outgoing messages are noted."""

    def __init__(self, link: Link, traffic: Traffic) -> None:
        self._link = link
        self._traffic = traffic

    @property
    def transport(self) -> Transport:
        return self._link.transport

    @property
    def host(self) -> str:
        return self._link.host

    @property
    def device_id(self) -> str | None:
        return self._link.device_id

    @property
    def name(self) -> str:
        return self._link.name

    @property
    def public_key(self) -> bytes:
        return self._link.public_key

    def key_log(self) -> str:
        return self._link.key_log()

    def send(self, data: bytes) -> None:
        self._traffic.note(self._link, self._link.device_id, data, upward=False)
        self._link.send(data)

    def save(self, device_id: str, *, online: bool, next_mid: int) -> None:
        self._link.save(device_id, online=online, next_mid=next_mid)

    def close(self, *, forget: bool, notify: bool) -> None:
        self._link.close(forget=forget, notify=notify)
