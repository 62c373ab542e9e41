"""Publishing, and event streams in their three scopes (cloud API fact sheet 2.3 "Events").

Every stream carries the caller's own events only: public events left the real cloud in 2020.
"""

from __future__ import annotations

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hil.cloud.http.call import Call, signed_in
from hil.cloud.http.errors import ApiError, bad_request
from hil.cloud.http.stream import EventStream

DEFAULT_TTL = 60  # seconds
MAX_TTL = 2**24 - 1  # seconds: what devices read (protocol fact sheet 3.4)


async def publish(call: Call) -> Response:
    """``POST /v1/devices/events``."""
    await call.cloud.publish(
        owner=call.user.name,
        name=call.body.required("name"),
        data=call.body.text("data") or "",
        ttl=_ttl(call),
        private=call.body.flag("private", True),
    )
    return JSONResponse({"ok": True})


def _ttl(call: Call) -> int:
    ttl = call.body.number("ttl", DEFAULT_TTL)
    if not 0 <= ttl <= MAX_TTL:
        raise bad_request(f"ttl must be 0 to {MAX_TTL} seconds, not {str(ttl)[:20]}")
    return ttl


async def mine(call: Call) -> Response:
    """``GET /v1/events/:prefix`` and ``GET /v1/devices/events[/:prefix]``."""
    return _stream(call, None)


async def of_device(call: Call) -> Response:
    """``GET /v1/devices/:d/events[/:prefix]``."""
    return _stream(call, call.device().id)


async def without_prefix(_call: Call) -> Response:
    """``GET /v1/events``: the whole fire hose has been closed since 2018."""
    raise bad_request("an event prefix is required; /v1/devices/events has all events of your devices")


def _stream(call: Call, device_id: str | None) -> Response:
    options, streams = call.state.options, call.state.streams
    address = call.request.client.host if call.request.client else ""
    if options.streams_per_address and streams.from_address(address) >= options.streams_per_address:
        raise ApiError(429, "too_many_requests", "too many event streams are open from this address")
    prefix = str(call.request.path_params.get("prefix", ""))
    return EventStream(
        call.cloud.bus.subscribe(call.user.name, prefix, device_id),
        streams,
        address=address,
        keep_alive=options.keep_alive,
        stalled_after=options.stalled_after,
    )


ROUTES = [
    Route("/v1/devices/events", signed_in(publish), methods=["POST"]),
    Route("/v1/devices/events", signed_in(mine), methods=["GET"]),
    Route("/v1/devices/events/{prefix:path}", signed_in(mine), methods=["GET"]),
    Route("/v1/devices/{device}/events", signed_in(of_device), methods=["GET"]),
    Route("/v1/devices/{device}/events/{prefix:path}", signed_in(of_device), methods=["GET"]),
    Route("/v1/events", signed_in(without_prefix), methods=["GET"]),
    Route("/v1/events/{prefix:path}", signed_in(mine), methods=["GET"]),
]
