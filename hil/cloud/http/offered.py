"""What other features offer over HTTP, as routes of this framework."""

from __future__ import annotations

from starlette import routing
from starlette.responses import JSONResponse, Response

from hil.cloud.core.routes import Answer, Mount, Route
from hil.cloud.http.call import Call, signed_in


def served(offered: Route | Mount) -> routing.BaseRoute:
    """``offered`` with everything that the API does for its own routes: token, body, errors."""
    if isinstance(offered, Mount):
        return routing.Mount(offered.path, app=offered.app)
    handler = offered.handler

    async def answer(call: Call) -> Response:
        return _response(await handler(call))

    return routing.Route(offered.path, signed_in(answer), methods=[offered.method])


def _response(answer: Answer) -> Response:
    if answer.media_type is None:
        return JSONResponse(answer.content, answer.status, answer.headers)
    return Response(answer.content, answer.status, answer.headers, answer.media_type)
