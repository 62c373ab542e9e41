"""The HTTP application of a cloud."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.middleware import Middleware

from hil.cloud.http import auth, devices, events, functions
from hil.cloud.http.body import BodyLimit
from hil.cloud.http.errors import HANDLERS
from hil.cloud.http.state import HttpOptions, HttpState

if TYPE_CHECKING:
    from hil.cloud.core import Cloud

# The first route that fits wins: events before devices, named routes before functions and variables.
_ROUTES = [*auth.ROUTES, *events.ROUTES, *devices.ROUTES, *functions.ROUTES]


def create_app(cloud: Cloud, options: HttpOptions | None = None) -> Starlette:
    """The API of ``cloud``. It must run on the cloud's own event loop."""
    options = options or HttpOptions()
    app = Starlette(
        routes=_ROUTES,
        middleware=[Middleware(BodyLimit, limit=options.max_body)],
        exception_handlers=HANDLERS,
    )
    app.router.redirect_slashes = False
    app.state.hil = HttpState(cloud, options)
    return app
