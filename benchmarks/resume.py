"""What a connection costs up to its first acknowledged publish: UDP payload bytes and asymmetric operations.

Counts, not times: a full handshake with Hello, and each of the three forms in which Device OS takes up a stored
session (protocol fact sheet 2.7). Goal P4 (field fact sheet 5c): resumed without asymmetric operations and with
at most 200 bytes, both directions together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.asymmetric import AsymmetricOperations
from benchmarks.pairs import CID, DEVICE_ID, DtlsPair
from benchmarks.table import Table, options, verdict
from hil.wire.coap import message as coap
from hil.wire.dtls import ResumeForm, Session, classify
from hil.wire.messages.events import event
from hil.wire.messages.hello import Hello, HelloFlag

GOAL_BYTES = 200
HELLO = Hello(12, 1, HelloFlag(0xF6), 12, DEVICE_ID, 6200, 1152, 1536000, 512)
# Up and down, as the fact sheet has them: the handshake alone (2.4), the ping and its ACK (2.7).
FULL = {
    False: ("full handshake (<= 3.0)", (631, 474)),
    True: ("full handshake (>= 3.1)", (656, 487)),
}
FORMS = {
    ResumeForm.DEVICE_ID: ("resume, id behind record (<= 3.0)", (46, 33)),
    ResumeForm.CID: ("resume, Connection ID (3.1 to 3.3)", (53, 33)),
    ResumeForm.MOVE: ("resume, move mark (>= 4.0)", (53, 33)),
}


@dataclass
class Cost:
    """What one connection cost. ``first`` is what came before any message: handshake, or ping and its ACK."""

    up: int = 0
    down: int = 0
    first: tuple[int, int] = (0, 0)
    operations: AsymmetricOperations = field(default_factory=AsymmetricOperations)

    @property
    def total(self) -> int:
        return self.up + self.down


def _acknowledged(
    device: Session, cloud: Session, message: coap.Message, form: ResumeForm | None = None
) -> tuple[int, int]:
    """Send ``message`` to the cloud and its acknowledgement back; the sizes of both datagrams."""
    datagram = device.seal(coap.encode(message), resume=form)
    incoming = classify(datagram)
    assert incoming.device_id == (DEVICE_ID if form is ResumeForm.DEVICE_ID else None)
    assert incoming.cid == (CID if device.cid else None)
    received = coap.decode(cloud.open(incoming.record).payload)
    reply = cloud.seal(coap.encode(coap.empty_ack(received.mid)))
    assert coap.decode(device.open(reply).payload) == coap.empty_ack(message.mid)
    return len(datagram), len(reply)


def publish(mid: int) -> coap.Message:
    """The publish that the goal is about."""
    return event(mid, "garden/temperature", b"21.5", confirmable=True)


def full(*, cid: bool) -> Cost:
    """A full handshake, Hello, and the publish, each acknowledged."""
    pair, cost = DtlsPair(cid), Cost()
    with cost.operations:
        device, cloud = pair.handshake()
        exchanges = [_acknowledged(device, cloud, m) for m in (HELLO.message(1, True), publish(2))]
    cost.first = sum(pair.up), sum(pair.down)
    cost.up, cost.down = (sum(sizes) for sizes in zip(cost.first, *exchanges, strict=True))
    return cost


def resumed(form: ResumeForm) -> Cost:
    """Both ends take up the stored session: ping, then the publish, each acknowledged."""
    device, cloud = DtlsPair(form is not ResumeForm.DEVICE_ID).handshake()
    stored = device.to_bytes(), cloud.to_bytes()
    cost = Cost()
    with cost.operations:
        device, cloud = (Session.from_bytes(state) for state in stored)
        ping = _acknowledged(device, cloud, coap.ping(0x1234), form)
        # The acknowledgement was a valid record, so the mark is dropped.
        sent = _acknowledged(device, cloud, publish(0x1235))
    cost.first = ping
    cost.up, cost.down = (sum(sizes) for sizes in zip(ping, sent, strict=True))
    return cost


def measure() -> Table:
    """One row for each way to connect; "first" is the handshake alone, or the ping and its ACK."""
    columns = (
        "connection",
        "up",
        "down",
        "total",
        "/ full",
        "asymmetric",
        "goal",
        "verdict",
        "first",
        "sheet",
    )
    table = Table("UDP payload bytes up to the first acknowledged publish", columns)
    totals: dict[bool, int] = {}
    for cid, (name, sheet) in FULL.items():
        cost = full(cid=cid)
        totals[cid] = cost.total
        _row(table, name, cost, "1", "-", "-", sheet)
    for form, (name, sheet) in FORMS.items():
        cost = resumed(form)
        share = f"{cost.total / totals[form is not ResumeForm.DEVICE_ID]:.2f}"
        met = cost.total <= GOAL_BYTES and not cost.operations.total
        _row(table, name, cost, share, f"0 ops, {GOAL_BYTES} B", verdict(met), sheet)
    table.note = "first: handshake alone, or ping and its ACK, up/down; signatures vary by a few bytes"
    return table


def _row(
    table: Table, name: str, cost: Cost, share: str, goal: str, judged: str, sheet: tuple[int, int]
) -> None:
    figures = cost.up, cost.down, cost.total, share, cost.operations.total
    table.add(name, *figures, goal, judged, "{}/{}".format(*cost.first), "{}/{}".format(*sheet))


def main(argv: Sequence[str] | None = None) -> None:
    options(__doc__, argv)
    print(measure())


if __name__ == "__main__":
    main()
