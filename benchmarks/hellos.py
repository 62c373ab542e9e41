"""A flood of ClientHellos that prove nothing, whole and in pieces, and what six honest boards notice of it.

The cloud runs in a process of its own, whose processor time and memory are read from inside. The flood comes from 200
loopback addresses that never go on; the boards have a path with 300 ms each way. Goals are those of issue 6.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass
from functools import partial
from itertools import cycle
from multiprocessing.connection import Connection
from pathlib import Path
from typing import cast

from cryptography.hazmat.primitives.asymmetric import ec

from benchmarks.table import Table, options, verdict
from hil.cloud.config import CloudConfig
from hil.cloud.sync.facade import DeviceCloud
from hil.device import keys
from hil.wire.dtls import ClientConnection
from hil.wire.dtls import handshake_messages as hs
from hil.wire.dtls.handshake_messages import HandshakeMessage
from hil.wire.dtls.records import Record

BOARDS = 6
ONE_WAY = 0.3  # seconds
SOURCES = 200
TICK = 0.01  # seconds between two bursts of the flood
GOAL_MICROSECONDS = 50
GOAL_MEGABYTES = 20
_PLATFORM = 12


@dataclass(frozen=True, slots=True)
class State:
    """What the cloud's process has used and kept so far: seconds, bytes, lines of its log, rows of it on disk."""

    cpu: float
    memory: int
    lines: int
    rows: int

    def since(self, before: State) -> State:
        return State(*(now - then for now, then in zip(astuple(self), astuple(before), strict=True)))


@dataclass(frozen=True, slots=True)
class Target:
    """A cloud in another process."""

    port: int
    server_key: ec.EllipticCurvePublicKey
    pipe: Connection

    def state(self) -> State:
        self.pipe.send("state")
        return cast(State, self.pipe.recv())


def _serve(pipe: Connection, board_keys: Sequence[bytes]) -> None:
    """The child: a cloud that knows the boards, until the pipe is closed."""
    with tempfile.TemporaryDirectory() as folder:
        config = CloudConfig(state_dir=Path(folder), tcp_port=0, udp_port=0, http_port=None)
        with DeviceCloud(config) as cloud:
            for number, key in enumerate(board_keys):
                cloud.register(f"e00fce68{number:016x}", platform_id=_PLATFORM, public_key=key)
            pipe.send((cloud.udp_port, cloud.server_keys.ec_public_der))
            with suppress(EOFError):
                while pipe.recv():
                    pipe.send(_state(cloud))


def _state(cloud: DeviceCloud) -> State:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    services = cloud.core.services
    (row,) = services.store.query("SELECT COUNT(*) AS rows FROM device_log")
    memory = pages * os.sysconf("SC_PAGE_SIZE")
    return State(time.process_time(), memory, len(services.log.journal.since()), int(row["rows"]))


@contextmanager
def target(board_keys: Sequence[bytes]) -> Iterator[Target]:
    """A cloud in a process of its own that knows these keys."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, board_keys), daemon=True)
    process.start()
    theirs.close()
    try:
        port, server_key = ours.recv()
        yield Target(port, cast(ec.EllipticCurvePublicKey, keys.load_public(server_key)), ours)
    finally:
        ours.close()
        process.join(10)


class Board(asyncio.DatagramProtocol):
    """The DTLS end of a board behind a long path; ``joined`` is done when it has a session or has given up."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, server_key: ec.EllipticCurvePublicKey) -> None:
        self._client = ClientConnection(key, server_key, offer_cid=True)
        self._loop = asyncio.get_running_loop()
        self.joined: asyncio.Future[bool] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)
        self._client.start(self._loop.time())
        self._go_on()

    def datagram_received(self, data: bytes, addr: object) -> None:  # noqa: ARG002
        self._loop.call_later(ONE_WAY, self._take, data)

    def _take(self, data: bytes) -> None:
        self._client.receive(data, self._loop.time())
        self._go_on()

    def _go_on(self) -> None:
        for datagram in self._client.take_output():
            self._loop.call_later(ONE_WAY, self._transport.sendto, datagram)
        due = self._client.next_timeout()
        if due is not None:
            self._loop.call_at(due, self._timeout)
        elif not self.joined.done():
            self.joined.set_result(self._client.session is not None)

    def _timeout(self) -> None:
        due = self._client.next_timeout()
        self._client.on_timeout(self._loop.time())
        if self._client.next_timeout() != due:
            self._go_on()


def a_hello() -> bytes:
    """A hello as a board says it first."""
    body = hs.device_client_hello(os.urandom(hs.RANDOM_SIZE), b"", offer_cid=True)
    return Record(22, 0, 0, HandshakeMessage(1, 0, body).encode()).encode()


def a_piece() -> bytes:
    """500 bytes of a hello that announces 4,000."""
    return Record(22, 0, 0, HandshakeMessage(1, 0, os.urandom(4000)).fragment(0, 500)).encode()


def a_small_piece() -> bytes:
    """The first half of a hello as a board would cut it."""
    return Record(22, 0, 0, HandshakeMessage(1, 0, os.urandom(120)).fragment(0, 60)).encode()


async def flood(port: int, makers: Sequence[Callable[[], bytes]], count: int, rate: int) -> int:
    """Send ``count`` datagrams, ``rate`` a second. Returns how many answers came back."""
    loop = asyncio.get_running_loop()
    sources = [_source(number, port) for number in range(SOURCES)]
    turn = zip(cycle(sources), cycle(makers))
    sent = answers = 0
    began = loop.time()
    while sent < count:
        due = min(count, int((loop.time() - began) * rate) + 1)
        for _ in range(due - sent):
            source, make = next(turn)
            source.send(make())
            answers += _drained(source)
        sent = due
        await asyncio.sleep(TICK)
    await asyncio.sleep(0.5)
    answers += sum(map(_drained, sources))
    for source in sources:
        source.close()
    return answers


def _source(number: int, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((f"127.66.0.{number + 1}", 0))
    sock.connect(("127.0.0.1", port))
    sock.setblocking(False)
    return sock


def _drained(sock: socket.socket) -> int:
    answers = 0
    with suppress(OSError):
        while sock.recv(2048):
            answers += 1
    return answers


async def _join(cloud: Target, board_keys: Sequence[ec.EllipticCurvePrivateKey]) -> int:
    """How many of the boards get a session."""
    loop = asyncio.get_running_loop()
    ends = []
    for key in board_keys:
        await asyncio.sleep(0.2)
        address = ("127.0.0.1", cloud.port)
        make = partial(Board, key, cloud.server_key)
        ends.append(await loop.create_datagram_endpoint(make, remote_addr=address))
    joined = [await board.joined for _, board in ends]
    for transport, _ in ends:
        transport.close()
    return sum(joined)


def measure(hellos: int, fragments: int, rate: int) -> Table:
    """First the pieces, twice as fast, then the hellos at ``rate`` a second with six boards that join meanwhile."""
    board_keys = [keys.generate_server_ec() for _ in range(BOARDS)]
    table = Table(
        f"{fragments:,} pieces of hellos, then {hellos:,} hellos without a cookie, {rate:,} a second",
        ("what", "measured", "goal", "verdict"),
    )
    with target([keys.public_der(key) for key in board_keys]) as cloud:
        asyncio.run(flood(cloud.port, [a_hello], 200, rate))  # imports, caches
        idle = cloud.state()
        asyncio.run(flood(cloud.port, [a_piece, a_small_piece], fragments, 2 * rate))
        after_pieces = cloud.state()

        async def both() -> tuple[int, int]:
            return await asyncio.gather(flood(cloud.port, [a_hello], hellos, rate), _join(cloud, board_keys))

        answers, joined = asyncio.run(both())
        end = cloud.state()
    _costs(table, "piece", after_pieces.since(idle).cpu / max(fragments, 1))
    _costs(table, "hello", end.since(after_pieces).cpu / max(hellos, 1))
    grown = end.since(idle).memory / 1e6
    table.add("memory grown, MB", f"{grown:.1f}", f"< {GOAL_MEGABYTES}", verdict(grown < GOAL_MEGABYTES))
    table.add(
        "boards that joined, 600 ms there and back", f"{joined} of {BOARDS}", "all", verdict(joined == BOARDS)
    )
    kept = end.since(idle)
    table.add("lines in the log", kept.lines, "0", verdict(kept.lines == 0))
    table.add("rows in the database", kept.rows, "0", verdict(kept.rows == 0))
    table.note = f"{answers:,} of {hellos:,} hellos were answered"
    return table


def _costs(table: Table, what: str, seconds: float) -> None:
    spent = seconds * 1e6
    goal = f"< {GOAL_MICROSECONDS}"
    table.add(f"processor time for a {what}, µs", f"{spent:.0f}", goal, verdict(spent < GOAL_MICROSECONDS))


def main(argv: Sequence[str] | None = None) -> None:
    print(measure(**options(__doc__, argv, hellos=30_000, fragments=20_000, rate=2_500)))


if __name__ == "__main__":
    main()
