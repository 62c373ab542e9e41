"""The leader's end of the control socket: other processes follow its clock, or ask for it to be moved."""

from __future__ import annotations

import os
import queue
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO, TypeVar

from hil.clock.messages import (
    MAX_LINE,
    Advance,
    Follow,
    Hold,
    Order,
    Request,
    Run,
    Step,
    encode,
    line,
    moment_of,
    parse_answer,
    parse_request,
    report_of,
)
from hil.clock.movable import MovableClock
from hil.clock.parts import PartGone, Report
from hil.clock.types import Clock, ClockError
from hil.controlsocket import Fields, listen, peer_uid, refusal, shut
from hil.errors import HilError

ANSWER_WITHIN = 30.0  # real seconds for one order

Answer = TypeVar("Answer")


class ClockServer:
    """Serves ``clock`` on the unix socket ``path``, to processes of this user and root, until closed.

    ``answer_within``: real seconds that a follower may take for one order. Raises ``ClockError`` when another clock
    answers on ``path``.
    """

    def __init__(self, clock: MovableClock, path: Path, *, answer_within: float = ANSWER_WITHIN) -> None:
        self.clock = clock
        self.path = path
        self._answer_within = answer_within
        self._listener = listen(path, "clock", ClockError)
        self._connections: set[socket.socket] = set()
        self._changed = threading.Condition()
        self._closed = False
        threading.Thread(target=self._accept, name="clock-server", daemon=True).start()

    def close(self) -> None:
        """Nobody follows any more: the followers go on at real pace. Idempotent."""
        with self._changed:
            self._closed = True
            shut(self._listener)
            for connection in self._connections:
                shut(connection)
        self._listener.close()
        self.path.unlink(missing_ok=True)

    def wait_followers(self, count: int, within: float) -> bool:
        """Whether ``count`` processes follow, waiting ``within`` real seconds for it."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self.clock.parts.names) == count, within)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            if peer_uid(connection) not in (0, os.getuid()):
                connection.close()
                continue
            with self._changed:
                if self._closed:
                    connection.close()
                    return
                self._connections.add(connection)
            threading.Thread(target=self._serve, args=(connection,), name="clock-client", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, connection.makefile("rb") as stream:
                while (data := stream.readline(MAX_LINE)).endswith(b"\n"):
                    try:
                        request = parse_request(data)
                        if isinstance(request, Follow):
                            self._lead(request, connection, stream)
                            return
                        answer = self._answer(request)
                    except HilError as error:
                        answer = refusal(error)
                    connection.sendall(line(**answer))
        except OSError:
            return  # the client went away
        finally:
            with self._changed:
                self._connections.discard(connection)

    def _answer(self, request: Request) -> Fields:
        clock = self.clock
        if isinstance(request, Advance):
            done = clock.advance(request.seconds)
            return {"ok": True, "time": clock.time(), "fired": done.fired, "lost": list(done.lost)}
        return {"ok": True, "time": clock.time(), "stands": clock.stands, "followers": clock.parts.names}

    def _lead(self, request: Follow, connection: socket.socket, stream: BinaryIO) -> None:
        """Keep a follower, and read what it answers, until it ends."""
        follower = RemotePart(request.name, connection, self._answer_within)

        def join() -> RemotePart:
            connection.sendall(line(ok=True, **asdict(self.clock.reading)))
            return follower

        self.clock.parts.join(join)
        self._tell()
        try:
            while (data := stream.readline(MAX_LINE)).endswith(b"\n"):
                follower.answers.put(data)
        finally:
            follower.answers.put(None)
            self.clock.parts.leave(follower)
            self._tell()

    def _tell(self) -> None:
        with self._changed:
            self._changed.notify_all()


class RemotePart:
    """A follower as the leader sees it. ``answers`` are the lines that it sends, and ``None`` at its end."""

    def __init__(self, name: str, connection: socket.socket, within: float) -> None:
        self.name = name
        self.answers: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._connection = connection
        self._within = within

    def hold(self) -> float:
        return self._ask(Hold(), moment_of)

    def step(self, moment: float) -> Report:
        return self._ask(Step(moment), report_of)

    def run(self, shift: float) -> None:
        self._ask(Run(shift), lambda _fields: None)

    def _ask(self, order: Order, read: Callable[[Fields], Answer]) -> Answer:
        """The answer to an order. A follower that fails is let go: its clock no longer is this one."""
        try:
            return read(parse_answer(self._exchange(order)))
        except PartGone:
            raise
        except HilError as error:
            shut(self._connection)
            raise ClockError(
                f"{self.name} no longer follows: {error.what}", expected=error.expected, found=error.found
            ) from error

    def _exchange(self, order: Order) -> bytes:
        try:
            self._connection.sendall(encode(order))
            data = self.answers.get(timeout=self._within)
        except OSError as error:
            raise PartGone(f"{self.name} has ended") from error
        except queue.Empty:
            raise ClockError(f"no answer within {self._within:g} s") from None
        if data is None:
            raise PartGone(f"{self.name} has ended")
        return data


@contextmanager
def leading(path: Path) -> Iterator[Clock]:
    """A clock at real pace that others may follow and move on the unix socket ``path``. Raises ``ClockError``."""
    clock = MovableClock()
    server = ClockServer(clock, path)
    try:
        yield clock
    finally:
        server.close()
