"""What an update costs on the wire: UDP payload bytes and datagrams for one file, by each protocol.

Sender and receiver of ``hil.wire`` run against each other in simulated time over a path that loses datagrams,
the same ones in every run; each datagram is sealed by a real DTLS session (with Connection ID for V3, without
for the legacy protocol, as boards of the time do). Goal P7 (field fact sheet 5c): with 5 % loss at most 1.15
times the bytes. What the cloud sends and what both send are judged apart: the device's acknowledgements (two
chunks each, every chunk while there is a gap) are the protocol's, not ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from statistics import median

from benchmarks.pairs import DtlsPair
from benchmarks.table import Table, options, verdict
from hil.wire.ota.common import OtaReceiver, OtaSender
from hil.wire.ota.legacy import LegacyReceiver, LegacySender
from hil.wire.ota.v3 import V3Receiver, V3Sender
from tests.wire.ota_channel import Channel, Path, counter, tokens

GOAL = 1.15
LOSS = 0.05


@dataclass(frozen=True)
class Protocol:
    """How to make the two ends of one protocol. ``judged``: the goal is about it."""

    name: str
    cid: bool
    judged: bool
    sender: Callable[[bytes], OtaSender]
    receiver: Callable[[int], OtaReceiver]


def _legacy(fast: bool) -> Protocol:
    return Protocol(
        "legacy fast" if fast else "legacy slow",
        cid=False,
        judged=False,
        sender=lambda file: LegacySender(
            file, fast=fast, reliable_transport=False, next_mid=counter(0x1000), next_token=tokens()
        ),
        receiver=lambda size: LegacyReceiver(size, False, counter(0x2001), lambda _file: 0),
    )


def _v3(chunk_size: int) -> Protocol:
    return Protocol(
        f"V3, chunks of {chunk_size}",
        cid=True,
        judged=True,
        sender=lambda file: V3Sender(
            file, chunk_size=chunk_size, next_mid=counter(0x1000), next_token=tokens()
        ),
        receiver=lambda size: V3Receiver(size, counter(0x2001), lambda _file: 0),
    )


PROTOCOLS = (_legacy(fast=True), _legacy(fast=False), _v3(512), _v3(1136))


class CountingChannel(Channel):
    """A channel that seals each datagram and keeps its size, lost ones and repeats included.

    ``sizes[0]`` are those of the cloud, ``sizes[1]`` those of the device.
    """

    def __init__(self, cloud: OtaSender, device: OtaReceiver, path: Path, *, cid: bool) -> None:
        super().__init__(cloud, device, path)
        self.sizes: tuple[list[int], list[int]] = ([], [])
        self._sessions = DtlsPair(cid).handshake()[::-1]

    def _transmit(self, origin: int, data: bytes) -> None:
        self.sizes[origin].append(len(self._sessions[origin].seal(data)))
        super()._transmit(origin, data)


@dataclass(frozen=True)
class Cost:
    """Bytes and datagrams of one update, and the simulated seconds it took."""

    down: int
    up: int
    datagrams_down: int
    datagrams_up: int
    seconds: float


def update(protocol: Protocol, size: int, loss: float, seed: int) -> Cost:
    """Send a file of ``size`` bytes; the device must get it whole."""
    file = Random(size).randbytes(size)
    cloud, device = protocol.sender(file), protocol.receiver(size)
    channel = CountingChannel(cloud, device, Path(loss=loss, seed=seed), cid=protocol.cid)
    channel.send(0, cloud.start(0.0))
    channel.run(lambda: cloud.error is not None or (cloud.finished and device.complete is not None))
    if device.complete != file:
        raise AssertionError(f"{protocol.name}: update failed: {cloud.error or device.error}")
    down, up = channel.sizes
    return Cost(sum(down), sum(up), len(down), len(up), channel.now)


def measure(size: int, seeds: int) -> Table:
    """Each protocol without loss, and with loss (medians over ``seeds`` patterns of loss)."""
    columns = ("protocol", "loss", "down / file", "verdict", "both ways / file", "verdict both")
    table = Table(
        f"Update of {size} bytes over DTLS, UDP payload",
        (*columns, "down / lossless", "datagrams down", "up", "simulated s"),
    )
    for protocol in PROTOCOLS:
        lossless = update(protocol, size, 0.0, 0)
        _row(table, protocol, size, 0.0, [lossless], lossless)
        costs = [update(protocol, size, LOSS, seed) for seed in range(seeds)]
        _row(table, protocol, size, LOSS, costs, lossless)
    table.note = f"goal: V3 with {LOSS:.0%} loss at most {GOAL:g} times the file"
    return table


def _row(table: Table, protocol: Protocol, size: int, loss: float, costs: list[Cost], lossless: Cost) -> None:
    down = median(cost.down for cost in costs) / size
    both = median(cost.down + cost.up for cost in costs) / size
    judged = protocol.judged and loss > 0
    table.add(
        protocol.name,
        f"{loss:.0%}",
        f"{down:.3f}",
        verdict(down <= GOAL) if judged else "-",
        f"{both:.3f}",
        verdict(both <= GOAL) if judged else "-",
        f"{down * size / lossless.down:.3f}",
        f"{median(cost.datagrams_down for cost in costs):g}",
        f"{median(cost.datagrams_up for cost in costs):g}",
        f"{median(cost.seconds for cost in costs):.1f}",
    )


def main(argv: Sequence[str] | None = None) -> None:
    print(measure(**options(__doc__, argv, size=131072, seeds=9)))


if __name__ == "__main__":
    main()
