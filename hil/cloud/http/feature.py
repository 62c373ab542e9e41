"""The HTTP API as a feature of the cloud: it serves Particle's own routes and those of all other features."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hil.cloud.core.api import Api
from hil.cloud.core.feature import Feature
from hil.cloud.gateways import descriptors
from hil.cloud.gateways.accepting import Pool
from hil.cloud.gateways.listening import listener
from hil.cloud.state.happenings import Noted

if TYPE_CHECKING:
    from hil.cloud.http.server import Server


_STREAMS = 100  # from one address, where the real cloud's limits hold (cloud API fact sheet 5)


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
        from hil.cloud.http.state import HttpOptions

        options = HttpOptions(streams_per_address=_STREAMS if config.limits else 0)
        pool = Pool("HTTP", descriptors.shares(config).http, self._tell)
        self._server = await serve(create_app(self.api, options), pool, *sockets)

    def _tell(self, line: str) -> None:
        self.api.activity.tell(None, Noted(line))

    async def close(self) -> None:
        if self._server is not None:
            await self._server.stop()
