"""``/hil/devices``: devices with their keys made known to a cloud that runs, for any account, many at once.

No route of Particle's: it is how ``hil cloud register`` reaches the cloud that has the state. Only the harness's own
token opens it, since it takes devices from whoever has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hil.cloud.http.call import Call, signed_in
from hil.cloud.http.errors import ApiError, bad_request
from hil.cloud.http.shapes import device_json
from hil.cloud.state.newcomers import PATH, Newcomer
from hil.cloud.state.users import HARNESS_CLIENT


async def register(call: Call) -> Response:
    """All of ``devices``, or none: each ``{id, public_key (SPKI DER in hex), platform_id, name}``."""
    _harness_only(call)
    listed = call.body.fields.get("devices")
    if not isinstance(listed, list) or not listed:
        raise bad_request("devices must be a list of devices")
    newcomers = [_newcomer(each) for each in listed]
    call.cloud.devices.introduce(newcomers, call.body.text("owner") or call.cloud.config.owner)
    return JSONResponse({"ok": True, "registered": len(newcomers)})


async def everything(call: Call) -> Response:
    """Every device of the cloud, whosever it is, in the order of registration."""
    _harness_only(call)
    return JSONResponse([device_json(view) for view in call.cloud.devices.all()])


def _harness_only(call: Call) -> None:
    if call.token.client != HARNESS_CLIENT:
        raise ApiError(403, "forbidden", "only the token that `hil cloud` prints opens this")


def _newcomer(said: Any) -> Newcomer:
    if not isinstance(said, Mapping):
        raise bad_request("a device must be an object")
    device_id, key, platform_id, name = (
        said.get(field) for field in ("id", "public_key", "platform_id", "name")
    )
    if not isinstance(device_id, str) or not isinstance(key, str):
        raise bad_request("a device must have an id and a public_key")
    if not (platform_id is None or type(platform_id) is int) or not (name is None or isinstance(name, str)):
        raise bad_request("platform_id must be a number and name a text, or null")
    try:
        return Newcomer(device_id, bytes.fromhex(key), platform_id, name)
    except ValueError:
        raise bad_request("public_key must be hex digits") from None


ROUTES = [
    Route(PATH, signed_in(register), methods=["POST"]),
    Route(PATH, signed_in(everything), methods=["GET"]),
]
