"""A lease on the network seen from one board: rules and counters concern that board alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypedDict

from hil.device.platforms import Transport
from hil.netlab import pcap
from hil.netlab.client import Network
from hil.observe import announce, verb


class Ports(TypedDict, total=False):
    """Ports by protocol, as the verbs of ``BoardPath`` take them: ``network.block(**ports)``."""

    udp: int
    tcp: int


def ports_of(transport: Transport) -> Ports:
    """The cloud's port for boards that reach it this way."""
    return Ports(udp=transport.port) if transport.protocol == "udp" else Ports(tcp=transport.port)


@dataclass(slots=True)
class Recording:
    """What one board exchanged while it was recorded; empty until the recording has ended."""

    segments: list[pcap.Segment] = field(default_factory=list)

    def sent(self, udp: int) -> list[int]:
        """UDP payload sizes in bytes of the board's datagrams to the cloud's port ``udp``, in order."""
        return [each.payload_length for each in self._udp() if each.destination_port == udp]

    def received(self, udp: int) -> list[int]:
        """The same for what came back."""
        return [each.payload_length for each in self._udp() if each.source_port == udp]

    def _udp(self) -> Iterator[pcap.Segment]:
        return (each for each in self.segments if each.protocol == "udp")


class BoardPath:
    """The path between one board and the cloud. ``address`` is the board's IPv4 address; ``None`` means all boards.

    What is blocked here is open again when the lease ends, whatever happens to the process that holds it.
    """

    actor = "network"

    def __init__(self, network: Network, address: str | None) -> None:
        self.everything = network
        self._address = address

    @verb
    def block(self, *, udp: int | None = None, tcp: int | None = None, action: str = "drop") -> None:
        """Stop these ports, or without a port everything; see ``Network.block``."""
        self.everything.block(udp=udp, tcp=tcp, board=self._address, action=action)

    @verb
    def allow_only(self, *, udp: int | None = None, tcp: int | None = None) -> None:
        """Stop everything but these ports."""
        self.everything.allow_only(udp=udp, tcp=tcp, board=self._address)

    @verb
    def clear(self) -> None:
        """Take the rules away."""
        self.everything.clear()

    def dropped(self, *, udp: int | None = None, tcp: int | None = None) -> int:
        """Packets of this board that the firewall stopped."""
        return self.everything.dropped(udp=udp, tcp=tcp, board=self._address)

    def passed(self, *, udp: int | None = None, tcp: int | None = None) -> int:
        """Packets of this board that the firewall let through."""
        return self.everything.passed(udp=udp, tcp=tcp, board=self._address)

    @contextmanager
    def recording(self) -> Iterator[Recording]:
        """Record the board's packets for the length of a ``with`` block."""
        recording = Recording()
        with announce(self.actor, "recording"), Network.connect(self.everything.path) as lease:
            lease.capture_start()
            yield recording
            frames = pcap.read(lease.capture_stop())
        recording.segments = [
            each for each in pcap.segments(frames) if self._address in (None, each.source, each.destination)
        ]
