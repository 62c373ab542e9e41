"""Our CoAP codec against aiocoap's, on one publish message.

Goal P2 (field fact sheet 5c): decode at least 5 times as fast, encode at least 1.5 times.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median

import aiocoap
from aiocoap.message import Direction

from benchmarks.table import Table, interleaved, options, ratio, repeated, verdict
from hil.wire.coap import message as coap
from hil.wire.messages.events import event

NAME = "garden/south/greenhouse/temperature"
DATA = b'{"celsius":21.5,"humidity":48.2,"battery":3.91}'
GOALS = {"decode": 5.0, "encode": 1.5}


def publish() -> coap.Message:
    """The publish of 94 bytes."""
    return event(0x1234, NAME, DATA, confirmable=True, ttl=3600)


def theirs(data: bytes) -> aiocoap.Message:
    """``data`` as aiocoap's message, ready to be encoded again."""
    message = aiocoap.Message.decode(data, None)
    message.direction = Direction.OUTGOING
    return message


def check_parity(data: bytes) -> None:
    """Both codecs read the same out of ``data`` and write it back byte for byte, or there is nothing to compare."""
    mine, other = coap.decode(data), theirs(data)
    read = (int(other.mtype), int(other.code), other.mid, other.token, other.payload)
    assert read == (mine.type, mine.code, mine.mid, mine.token, mine.payload)
    assert tuple((int(o.number), o.encode()) for o in other.opt.option_list()) == mine.options
    assert coap.encode(mine) == other.encode() == data


def measure(rounds: int, count: int) -> Table:
    """``rounds`` rounds of ``count`` messages for each codec and direction."""
    message = publish()
    data = coap.encode(message)
    check_parity(data)
    their_message = theirs(data)
    contests = {
        "decode": (lambda: coap.decode(data), lambda: aiocoap.Message.decode(data, None)),
        "encode": (lambda: coap.encode(message), lambda: their_message.encode()),
    }
    columns = ("codec", "hil / aiocoap", "goal", "verdict", "hil msg/s", "aiocoap msg/s")
    table = Table(f"CoAP codec, publish of {len(data)} bytes, median of {rounds}", columns)
    for name, (ours, aiocoaps) in contests.items():
        tasks = {"hil": repeated(ours, count), "aiocoap": repeated(aiocoaps, count)}
        spent = interleaved(tasks, rounds, time.process_time)
        times = ratio(spent["aiocoap"], spent["hil"])
        rates = [f"{count / (median(spent[who]) or 1e-9):,.0f}" for who in ("hil", "aiocoap")]
        table.add(name, f"{times:.1f}x", f"{GOALS[name]:g}x", verdict(times >= GOALS[name]), *rates)
    return table


def main(argv: Sequence[str] | None = None) -> None:
    print(measure(**options(__doc__, argv, rounds=15, count=5000)))


if __name__ == "__main__":
    main()
