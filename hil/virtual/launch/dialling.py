"""Which cloud a virtual board dials, for whoever put up the rack: a board that dials elsewhere is never seen here."""

from __future__ import annotations

import contextlib
import json
import socket
from dataclasses import asdict, dataclass

from hil.virtual.cloudclient.link import BoardNetwork

_LARGEST = 4096  # bytes of one notice


@dataclass(frozen=True, slots=True)
class Dialled:
    """Board ``device_id`` in ``slot`` dials ``host``, an address or a name."""

    slot: str
    device_id: str
    host: str


class NoticedNetwork:
    """A board's network that says which host the board dials, once for each change.

    ``notices`` is a datagram socket, and never waited for.
    """

    def __init__(self, network: BoardNetwork, slot: str, device_id: str, notices: socket.socket) -> None:
        self.address: str | None = getattr(network, "address", None)
        self._network = network
        self._slot = slot
        self._device_id = device_id
        self._notices = notices
        self._last = ""

    def socket(self, family: int = socket.AF_INET, type: int = socket.SOCK_STREAM) -> socket.socket:
        """A new blocking socket of the board."""
        return self._network.socket(family, type)

    def resolve(self, host: str) -> str | None:
        """The address of ``host``, which the board is about to dial."""
        if host != self._last:
            self._last = host
            notice = json.dumps(asdict(Dialled(self._slot, self._device_id, host)))
            with contextlib.suppress(OSError):
                self._notices.send(notice.encode(), socket.MSG_DONTWAIT)
        return self._network.resolve(host)


def receive(notices: socket.socket, *, wait: bool = True) -> Dialled | None:
    """The next notice; ``None`` when the rack has ended, or with ``wait`` false when there is none now."""
    try:
        data = notices.recv(_LARGEST, 0 if wait else socket.MSG_DONTWAIT)
    except BlockingIOError:
        return None
    return Dialled(**json.loads(data)) if data else None
