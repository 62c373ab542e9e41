"""The radio between a board and its network: without a joined Wi-Fi network there is no way out."""

from __future__ import annotations

import errno
import socket

from hil.virtual.cloudclient.link import BoardNetwork
from hil.virtual.hardware.machine import Machine


class RadioLink:
    """``network`` for as long as the board is on it."""

    def __init__(self, machine: Machine, network: BoardNetwork) -> None:
        self._machine = machine
        self._network = network

    def socket(self, family: int = socket.AF_INET, type: int = socket.SOCK_STREAM) -> socket.socket:
        """A socket there. Raises ``OSError`` while the board has joined no network."""
        if not self._machine.on_network:
            raise OSError(errno.ENETUNREACH, "no known Wi-Fi network in the air")
        return self._network.socket(family, type)

    def resolve(self, host: str) -> str | None:
        """As the network does; nothing while there is none."""
        return self._network.resolve(host) if self._machine.on_network else None
