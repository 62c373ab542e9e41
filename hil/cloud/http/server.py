"""An HTTP server inside a running event loop: real port known at once, clean stop, no signal handlers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.applications import Starlette

from hil.cloud.gateways.accepting import Acceptor, Pool
from hil.cloud.http.connection import HttpConnection
from hil.cloud.http.state import HttpState

_LAST_WORDS = 1  # seconds that answers under way may still take when the server stops
_FAREWELL = 2  # seconds after that until uvicorn breaks off, and complains about, what does not notice


class _Quiet(uvicorn.Server):
    """Uvicorn that says when it listens and leaves signals to the program."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Server:
    """A running server. ``host`` and ``port`` are where the first of its sockets really listens.

    ``pool`` holds its connections. It takes them by an acceptor of ours: uvicorn's server knows no limit that
    closes a connection before its request has come.
    """

    def __init__(self, app: Starlette, pool: Pool, *listeners: socket.socket) -> None:
        self.host, self.port = listeners[0].getsockname()[:2]
        self.pool = pool
        self._app = app
        self._acceptors = [Acceptor(listener, self._connection, pool) for listener in listeners]
        config = uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_LAST_WORDS + _FAREWELL,
        )
        self._server = _Quiet(config)
        self._running: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """What clients take as the address of the cloud."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    async def start(self) -> None:
        """Serve from now on."""
        self._running = asyncio.create_task(self._server.serve([]), name="http server")
        await self._server.listening.wait()
        for acceptor in self._acceptors:
            acceptor.start()

    async def stop(self) -> None:
        """End event streams, let other answers finish, close everything. May be called twice."""
        if self._running is None:
            return
        for acceptor in self._acceptors:
            acceptor.close()
        self._state.streams.close()
        self._server.should_exit = True
        await asyncio.wait([self._running], timeout=_LAST_WORDS)
        for connection in self.pool:
            # A client that stopped reading: nothing can be flushed to it any more.
            connection.abort()
        await self._running
        self._running = None

    @property
    def _state(self) -> HttpState:
        state = self._app.state.hil
        assert isinstance(state, HttpState)
        return state

    def _connection(self) -> HttpConnection:
        return HttpConnection(self._server.config, self._server.server_state, self._state.options, self.pool)


async def serve(app: Starlette, pool: Pool, *listeners: socket.socket) -> Server:
    """Serve ``app`` on sockets that listen already, until :meth:`Server.stop`, which closes them."""
    server = Server(app, pool, *listeners)
    await server.start()
    return server
