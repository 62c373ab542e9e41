"""Devices of the caller: list, look at, rename, signal, ping, flash, claim, give up, keys (cloud API
fact sheet 2.3)."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hil.cloud.http.call import Call, signed_in
from hil.cloud.http.errors import ApiError, bad_request
from hil.cloud.http.flash import flash
from hil.cloud.http.shapes import device_json, iso_time
from hil.cloud.state.devices import DeviceView
from hil.cloud.state.names import is_device_id
from hil.errors import NotOwner


async def listing(call: Call) -> Response:
    """``GET /v1/devices``: a bare array, the latest handshake first."""
    views = [view for view in call.cloud.devices.of(call.user) if _matches(call, view)]
    return JSONResponse([device_json(view) for view in views])


def _matches(call: Call, view: DeviceView) -> bool:
    filters = {"deviceId": view.id, "deviceName": view.name, "serialNumber": ""}
    wanted = call.request.query_params
    return all(wanted[key].lower() in value.lower() for key, value in filters.items() if key in wanted)


async def details(call: Call) -> Response:
    """``GET /v1/devices/:d``."""
    return JSONResponse(device_json(call.device()))


async def change(call: Call) -> Response:
    """``PUT /v1/devices/:d``: an upload, or one of ``name``, ``signal``, ``notes``."""
    if call.body.uploads:
        return await flash(call)
    if call.body.text("name") is not None:
        return _rename(call)
    if call.body.text("signal") is not None:
        return await _signal(call)
    if call.body.text("notes") is not None:
        return _annotate(call)
    raise bad_request("nothing to do: send a file, or name, signal or notes")


def _rename(call: Call) -> Response:
    view, name = call.device(), call.body.required("name")
    call.cloud.devices.rename(view.id, name)
    return JSONResponse(
        {"ok": True, "id": view.id, "name": name, "updated_at": iso_time(call.cloud.clock.time())}
    )


def _annotate(call: Call) -> Response:
    view, notes = call.device(), call.body.text("notes") or ""
    call.cloud.devices.set_notes(view.id, notes)
    return JSONResponse(
        {"ok": True, "id": view.id, "notes": notes, "updated_at": iso_time(call.cloud.clock.time())}
    )


async def _signal(call: Call) -> Response:
    view, on = call.device(), call.body.flag("signal", False)
    await call.cloud.signal(view.id, on)
    return JSONResponse({"ok": True, "id": view.id, "connected": True, "signaling": on})


async def ping(call: Call) -> Response:
    """``PUT /v1/devices/:d/ping``: asks the device itself."""
    return JSONResponse({"online": await call.cloud.ping(call.device().id), "ok": True})


async def claim(call: Call) -> Response:
    """``POST /v1/devices``: an unowned device becomes the caller's."""
    device_id = call.body.required("id").lower()
    if not is_device_id(device_id):
        raise bad_request("id must be 24 hex digits")
    if call.body.flag("request_transfer", False):
        raise ApiError(
            403, NotOwner().what, "this cloud passes no transfer requests on: its owner must give it up"
        )
    view = call.cloud.devices.claim(call.user, device_id)
    return JSONResponse(
        {
            "ok": True,
            "user_id": call.user.name,
            "id": view.id,
            "deviceID": view.id,
            "connected": view.online,
            "claimed": True,
        }
    )


async def give_up(call: Call) -> Response:
    """``DELETE /v1/devices/:d``: the device stays known, without an owner."""
    call.cloud.devices.unclaim(call.user, call.device().id)
    return JSONResponse({"ok": True})


async def provision(call: Call) -> Response:
    """``POST /v1/provisioning/:d``: the public key (PEM) that the device will show. It claims nothing."""
    device_id = call.path("device").lower()
    if not is_device_id(device_id):
        raise bad_request("the device must be named by its 24 hex digits")
    algorithm = call.body.text("algorithm") or "rsa"
    call.cloud.devices.provision_key(call.user, device_id, call.body.required("publicKey"), algorithm)
    return JSONResponse({"ok": True, "id": device_id})


async def claim_code(call: Call) -> Response:
    """``POST /v1/device_claims``: a code for a device to bring along."""
    mine = [view.id for view in call.cloud.devices.of(call.user)]
    return JSONResponse({"claim_code": call.cloud.devices.claim_code(call.user), "device_ids": mine})


ROUTES = [
    Route("/v1/devices", signed_in(listing), methods=["GET"]),
    Route("/v1/devices", signed_in(claim), methods=["POST"]),
    Route("/v1/devices/{device}", signed_in(details), methods=["GET"]),
    Route("/v1/devices/{device}", signed_in(change), methods=["PUT"]),
    Route("/v1/devices/{device}", signed_in(give_up), methods=["DELETE"]),
    Route("/v1/devices/{device}/ping", signed_in(ping), methods=["PUT"]),
    Route("/v1/provisioning/{device}", signed_in(provision), methods=["POST"]),
    Route("/v1/device_claims", signed_in(claim_code), methods=["POST"]),
]
