"""A lease on the network seen from one board: rules and counters concern that board alone."""

from __future__ import annotations

from hil.netlab.client import Network


class BoardPath:
    """The path between one board and the cloud. ``address`` is the board's IPv4 address; ``None`` means all boards.

    What is blocked here is open again when the lease ends, whatever happens to the process that holds it.
    """

    def __init__(self, network: Network, address: str | None) -> None:
        self.everything = network
        self._address = address

    def block(self, *, udp: int | None = None, tcp: int | None = None, action: str = "drop") -> None:
        """Stop these ports, or without a port everything; see ``Network.block``."""
        self.everything.block(udp=udp, tcp=tcp, board=self._address, action=action)

    def allow_only(self, *, udp: int | None = None, tcp: int | None = None) -> None:
        """Stop everything but these ports."""
        self.everything.allow_only(udp=udp, tcp=tcp, board=self._address)

    def clear(self) -> None:
        """Take the rules away."""
        self.everything.clear()

    def dropped(self, *, udp: int | None = None, tcp: int | None = None) -> int:
        """Packets of this board that the firewall stopped."""
        return self.everything.dropped(udp=udp, tcp=tcp, board=self._address)

    def passed(self, *, udp: int | None = None, tcp: int | None = None) -> int:
        """Packets of this board that the firewall let through."""
        return self.everything.passed(udp=udp, tcp=tcp, board=self._address)
