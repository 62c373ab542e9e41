"""The HTTP application of a cloud."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.middleware import Middleware

from hil.cloud.core.api import Api
from hil.cloud.http import auth, devices, events, functions, registering
from hil.cloud.http.body import BodyLimit
from hil.cloud.http.errors import HANDLERS
from hil.cloud.http.guesses import Guesses
from hil.cloud.http.offered import served
from hil.cloud.http.state import HttpOptions, HttpState


def create_app(cloud: Api, options: HttpOptions | None = None) -> Starlette:
    """The API of ``cloud``, with what its features offer. It must run on the cloud's own event loop."""
    options = options or HttpOptions()
    # The first route that fits wins: events before devices, named routes before functions and variables.
    own = [*auth.ROUTES, *events.ROUTES, *devices.ROUTES, *registering.ROUTES]
    named = [*own, *map(served, cloud.routes)]
    app = Starlette(
        routes=[*named, *functions.ROUTES],
        middleware=[Middleware(BodyLimit, limit=options.max_body, together=options.max_bodies)],
        exception_handlers=HANDLERS,
    )
    app.router.redirect_slashes = False
    exempt = () if cloud.config.limits else cloud.config.own_networks
    app.state.hil = HttpState(cloud, options, Guesses(cloud.clock.monotonic, exempt))
    return app
