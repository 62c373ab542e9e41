"""Tokens and the account: ``/oauth/token``, ``/v1/access_tokens``, ``/v1/user`` (cloud API fact sheet 2.3).

Which client asks for a token does not matter, and whatever bearer header comes along on ``/oauth/token`` is not
looked at: clients in the wild send half a dozen client ids, and ``Bearer null``.
"""

from __future__ import annotations

from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hil.cloud.http.body import Body, short_body
from hil.cloud.http.call import Call, basic_user, log_in, signed_in
from hil.cloud.http.errors import ApiError, bad_request
from hil.cloud.http.shapes import iso_time, radio_of
from hil.cloud.http.state import state_of
from hil.cloud.state.users import HARNESS_CLIENT, Token, Users
from hil.device.platforms import Radio

MAX_LIFETIME = 10 * 365 * 86_400  # seconds; what is longer is a mistake
MAX_CLIENT = 100  # characters


async def issue(request: Request) -> Response:
    """``POST /oauth/token``: a token for a password or a refresh token."""
    body, cloud = await short_body(request), state_of(request).cloud
    lifetime = _lifetime(body, cloud.clock.time())
    kind = body.text("grant_type") or "password"
    if kind == "password":
        token = await _by_password(request, body, lifetime)
    elif kind == "refresh_token":
        token = _by_refresh_token(cloud.users, body, lifetime)
    else:
        raise ApiError(
            400, "unsupported_grant_type", "this cloud knows the grants password and refresh_token only"
        )
    granted = 0 if token.expires_at is None else round(token.expires_at - token.created_at)
    return JSONResponse(
        {
            "access_token": token.token,
            "token_type": "bearer",
            "expires_in": granted,
            "refresh_token": token.refresh_token,
        },
        headers={"Cache-Control": "no-store"},
    )


async def _by_password(request: Request, body: Body, lifetime: int | None) -> Token:
    client = _client(body)
    user = await log_in(request, body.text("username") or "", body.text("password") or "")
    if user is None:
        raise ApiError(400, "invalid_grant", "User credentials are invalid")
    return state_of(request).cloud.users.issue_token(user, lifetime, client=client)


def _client(body: Body) -> str:
    """Any OAuth client is taken (fact sheet 0), but none may pass for the harness."""
    given = body.text("client_id")
    if given and len(given) > MAX_CLIENT:
        raise bad_request(f"client_id must have at most {MAX_CLIENT} characters")
    return given if given and given != HARNESS_CLIENT else "hil"


def _by_refresh_token(users: Users, body: Body, lifetime: int | None) -> Token:
    token = users.refresh(body.text("refresh_token") or "", lifetime)
    if token is None:
        raise ApiError(400, "invalid_grant", "The refresh token is invalid or has expired")
    return token


def _lifetime(body: Body, now: float) -> int | None:
    """Seconds; 0 for ever, ``None`` when the caller leaves it to the cloud."""
    if body.text("expires_in") is not None:
        seconds = body.number("expires_in", 0)
        if seconds < 0:
            raise bad_request("expires_in must not be negative")
        return _at_most_years(seconds)
    until = body.text("expires_at")
    if until is None:
        return None
    try:
        moment = datetime.fromisoformat(until)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return _at_most_years(max(1, round(moment.timestamp() - now)))
    except (ValueError, OverflowError):
        raise bad_request("expires_at must be an ISO 8601 date") from None


def _at_most_years(seconds: int) -> int:
    if seconds > MAX_LIFETIME:
        raise bad_request(f"a token lasts {MAX_LIFETIME} seconds (ten years) at most, or for ever: 0")
    return seconds


async def current(call: Call) -> Response:
    """``GET /v1/access_tokens/current``."""
    token = call.token
    return JSONResponse(
        {
            "expires_at": iso_time(token.expires_at),
            "client": token.client,
            "client_id": token.client,
            "scopes": [],
            "orgs": [],
        }
    )


async def revoke_current(call: Call) -> Response:
    """``DELETE /v1/access_tokens/current``."""
    call.cloud.users.revoke(call.token.token)
    return JSONResponse({"ok": True})


async def revoke(request: Request) -> Response:
    """``DELETE /v1/access_tokens/:token``: clients send no authorization, the token itself is the proof."""
    if not state_of(request).cloud.users.revoke(str(request.path_params["token"])):
        raise ApiError(404, "not_found", "there is no such access token")
    return JSONResponse({"ok": True})


async def revoke_all(call: Call) -> Response:
    """``DELETE /v1/access_tokens``: every token of the caller, this one too, but not the harness's own."""
    call.cloud.users.revoke_all(call.user)
    return JSONResponse({"ok": True})


async def tokens(request: Request) -> Response:
    """``GET /v1/access_tokens`` with name and password."""
    user = await basic_user(request)
    known = state_of(request).cloud.users.tokens_of(user)
    return JSONResponse(
        [
            {"token": token.token, "expires_at": iso_time(token.expires_at), "client": token.client}
            for token in known
        ]
    )


async def account(call: Call) -> Response:
    """``GET /v1/user``."""
    radios = [radio_of(view) for view in call.cloud.devices.of(call.user)]
    return JSONResponse(
        {
            "username": call.user.name,
            "subscription_ids": [],
            "account_info": {"first_name": "", "last_name": "", "business_account": False},
            "mfa": {"enabled": False},
            "tos": {"accepted": True},
            "memberships": [],
            "scim_provisioned": False,
            "no_password": False,
            "wifi_device_count": radios.count(Radio.WIFI),
            "cellular_device_count": radios.count(Radio.CELLULAR),
        }
    )


ROUTES = [
    Route("/oauth/token", issue, methods=["POST"]),
    Route("/v1/access_tokens/current", signed_in(current), methods=["GET"]),
    Route("/v1/access_tokens/current", signed_in(revoke_current), methods=["DELETE"]),
    Route("/v1/access_tokens/{token}", revoke, methods=["DELETE"]),
    Route("/v1/access_tokens", tokens, methods=["GET"]),
    Route("/v1/access_tokens", signed_in(revoke_all), methods=["DELETE"]),
    Route("/v1/user", signed_in(account), methods=["GET"]),
]
