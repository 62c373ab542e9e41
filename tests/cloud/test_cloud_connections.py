"""Issue 6, points 5 and 6: connections of boards, and what a process without descriptors does."""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
from pathlib import Path

import pytest

from hil.cloud.config import CloudConfig
from hil.cloud.gateways import descriptors
from hil.cloud.gateways.accepting import Acceptor, Guest, Pool
from hil.cloud.gateways.listening import listener
from hil.cloud.sync.facade import DeviceCloud
from tests.cloud.conftest import MakeBoard, bring_up, config, introduce
from tests.cloud.kits import KITS
from tests.cloud.scripted_board import PATIENCE, ScriptedBoard


class Greeter(Guest):
    """Says one word to whoever comes."""

    def __init__(self, pool: Pool) -> None:
        super().__init__()
        self._pool = pool

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.line is not None
        self.line.write(b"welcome")

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._pool.forget(self)


class Starving(socket.socket):
    """A listener in a process that has no descriptor left for a while."""

    tries = 0
    refusals = 3

    def accept(self) -> tuple[socket.socket, object]:
        self.tries += 1
        if self.tries <= self.refusals:
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


def test_without_a_descriptor_the_oldest_silent_connection_goes_and_nobody_spins() -> None:
    told: list[str] = []
    complaints: list[object] = []

    async def scene() -> tuple[bytes, bytes, int]:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
        pool = Pool("board", 100, told.append)
        listening = Starving(socket.AF_INET, socket.SOCK_STREAM)
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        acceptor = Acceptor(listening, lambda: Greeter(pool), pool)
        Starving.refusals = 0
        acceptor.start()
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        await reader.readexactly(7)
        Starving.refusals = listening.tries + 3
        late_reader, late_writer = await asyncio.open_connection(*listening.getsockname())
        welcome = await late_reader.readexactly(7)
        lost = await _rest(reader)
        for one in (writer, late_writer):
            one.close()
        acceptor.close()
        return welcome, lost, listening.tries - Starving.refusals

    welcome, lost, tries = asyncio.run(asyncio.wait_for(scene(), PATIENCE))
    assert (welcome, lost) == (b"welcome", b"")
    assert tries <= 2  # the one that was taken, and one that found nobody else
    assert complaints == []
    assert told == [
        "100 board connections, the limit: the oldest silent ones are closed (1 closed and 0 refused so far)"
    ]


async def _rest(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize(
    ("limit", "http", "boards"),
    [(1024, 470, 470), (256, 86, 86), (128, 38, 38), (32, 8, 8), (65_536, 2000, 8000)],
)
def test_strangers_get_what_a_reserve_leaves(limit: int, http: int, boards: int) -> None:
    assert descriptors.divide(limit, 20, CloudConfig()) == descriptors.Shares(http, boards)


def test_the_limit_of_open_files_is_raised_to_what_is_allowed() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = min(hard, descriptors.WANTED)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed - 100, hard))
    try:
        assert descriptors.raise_limit() == allowed
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (allowed, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_boards_keep_their_place_and_strangers_lose_theirs(tmp_path: Path) -> None:
    settings = config(tmp_path / "state", max_tcp_connections=3)
    with DeviceCloud(settings) as cloud:
        board = ScriptedBoard(KITS["photon"])
        introduce(board, cloud)
        bring_up(board, cloud)
        strangers = [socket.create_connection(("127.0.0.1", cloud.tcp_port), PATIENCE) for _ in range(20)]
        ends = [_has_ended(stranger) for stranger in strangers[:-2]]
        assert all(ends)
        assert cloud.call(board, "led", "on") == 2
        for stranger in strangers[-2:]:
            assert len(stranger.recv(40, socket.MSG_WAITALL)) == 40  # the nonce: it may still begin
        (line,) = [entry.line for entry in cloud.core.services.log.journal.since() if "limit" in entry.line]
        assert line.startswith("3 board connections, the limit")
        for stranger in strangers:
            stranger.close()
        board.power_off()


def _has_ended(stranger: socket.socket) -> bool:
    try:
        while stranger.recv(4096):
            continue
    except ConnectionResetError:
        pass
    return True


def test_small_messages_leave_at_once_and_a_board_is_acknowledged_at_once(
    cloud: DeviceCloud, boards: MakeBoard
) -> None:
    """TCP_NODELAY stays; TCP_QUICKACK reads as set while no answer has put the connection back to waiting."""
    board = bring_up(boards("photon"), cloud)
    (link,) = cloud.core._tcp.links
    assert link.line is not None
    sock = link.line.get_extra_info("socket")
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    board.publish("quick", b"1")
    cloud.events.expect("quick", source=board)
    board.publish("quick", b"2")
    cloud.events.expect("quick", data="2", source=board)
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK)


def test_the_listener_may_be_closed_twice() -> None:
    async def scene() -> None:
        pool = Pool("board", 1, lambda _line: None)
        acceptor = Acceptor(listener("TCP", "127.0.0.1", 0, "tcp_port"), lambda: Greeter(pool), pool)
        acceptor.start()
        acceptor.close()
        acceptor.close()

    asyncio.run(scene())
