"""Serves the HTTP API on the cloud's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING

import uvicorn

from hil.cloud.http.app import create_app
from hil.errors import CloudError

if TYPE_CHECKING:
    from hil.cloud.core import Cloud

_GRACE = 1  # seconds that open event streams get to end


class _Server(uvicorn.Server):
    """A uvicorn that leaves signals to whoever runs the cloud."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpServer:
    """The HTTP side of one cloud."""

    def __init__(self, cloud: Cloud) -> None:
        config = uvicorn.Config(
            create_app(cloud),
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=_GRACE,
        )
        self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the real port once requests are answered."""
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, port))
        except OSError as error:
            sock.close()
            raise CloudError(
                f"cannot listen on TCP {host}:{port}", found=str(error), hint="choose another port"
            ) from error
        sock.listen(1024)
        self._task = asyncio.create_task(self._server.serve(sockets=[sock]))
        while not self._server.started and not self._task.done():
            await asyncio.sleep(0)
        return int(sock.getsockname()[1])

    async def stop(self) -> None:
        """End open requests and close the socket."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task
