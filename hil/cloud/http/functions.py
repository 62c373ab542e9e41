"""Function calls and variable reads (cloud API fact sheet 2.3 "Devices")."""

from __future__ import annotations

from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from hil.cloud.http.call import Call, signed_in
from hil.cloud.http.errors import ApiError
from hil.cloud.http.shapes import plain, variable_json
from hil.errors import NotFound


async def call_function(call: Call) -> Response:
    """``POST /v1/devices/:d/:fn``: the argument is ``args`` (clients) or ``arg`` (documents)."""
    view, name = call.device(), call.path("name")
    argument = call.body.text("args", "arg") or ""
    try:
        result = await call.cloud.call(view.id, name, argument.encode())
    except NotFound:
        raise ApiError(404, f"Function {name} not found") from None
    if call.raw:
        return PlainTextResponse(str(result))
    return JSONResponse({"id": view.id, "name": name, "connected": True, "return_value": result})


async def read_variable(call: Call) -> Response:
    """``GET /v1/devices/:d/:var``."""
    view, name = call.device(), call.path("name")
    try:
        value = await call.cloud.read(view.id, name)
    except NotFound:
        raise ApiError(404, "Variable not found") from None
    if call.raw:
        return PlainTextResponse(plain(value))
    return JSONResponse(variable_json(view, name, value))


ROUTES = [
    Route("/v1/devices/{device}/{name}", signed_in(call_function), methods=["POST"]),
    Route("/v1/devices/{device}/{name}", signed_in(read_variable), methods=["GET"]),
]
