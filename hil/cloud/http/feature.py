"""The HTTP API as a feature of the cloud: it serves Particle's own routes and those of all other features."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hil.cloud.core.api import Api
from hil.cloud.core.feature import Feature
from hil.cloud.gateways.listening import listener

if TYPE_CHECKING:
    from hil.cloud.http.server import Server


class HttpApi(Feature):
    """Listens where the configuration says, or not at all."""

    name = "http"

    def __init__(self, api: Api) -> None:
        super().__init__(api)
        self._server: Server | None = None

    @property
    def port(self) -> int:
        """Where the API answers; 0 when it is off."""
        return self._server.port if self._server is not None else 0

    @property
    def url(self) -> str:
        """Base address of the API; empty when it is off."""
        return self._server.url if self._server is not None else ""

    async def open(self) -> None:
        config = self.api.config
        sockets = list(config.http_sockets)
        if config.http_port is not None:
            sockets.append(listener("TCP", config.host, config.http_port, "http_port"))
        if not sockets:
            return
        # Imported here: a cloud without HTTP need not load a web framework.
        from hil.cloud.http.app import create_app
        from hil.cloud.http.server import serve

        self._server = await serve(create_app(self.api), *sockets)

    async def close(self) -> None:
        if self._server is not None:
            await self._server.stop()
