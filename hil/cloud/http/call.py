"""Who is calling: access tokens in their three places, and the wrapper of every route that needs one.

Facts: cloud API fact sheet 2.1 (bearer header, ``access_token`` in the query or in a form).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from hil.cloud.core.api import Api
from hil.cloud.http.body import FIRST_BYTES, Body, Incoming, is_multipart
from hil.cloud.http.errors import ApiError
from hil.cloud.http.guesses import TryLater
from hil.cloud.http.state import HttpState, state_of
from hil.cloud.state.devices import DeviceView
from hil.cloud.state.users import Token, User

_NOT_IN_LONG = f" in the head, and it is looked for in bodies of at most {FIRST_BYTES} bytes only"
_TOKEN_PART = re.compile(rb'name="?access_token"?(?:\r\n[^\r\n]+)*\r\n\r\n([0-9A-Za-z]{1,100})\r\n')


@dataclass(frozen=True, slots=True)
class Call:
    """One request of a signed-in user."""

    request: Request
    state: HttpState
    user: User
    token: Token
    body: Body

    @property
    def cloud(self) -> Api:
        """The cloud behind the API."""
        return self.state.cloud

    @property
    def raw(self) -> bool:
        """Whether the caller wants the bare value (``format=raw``)."""
        return (self.query.get("format") or self.body.text("format")) == "raw"

    @property
    def query(self) -> Mapping[str, str]:
        """What stands behind the question mark."""
        return self.request.query_params

    def path(self, name: str) -> str:
        """A parameter of the path."""
        return str(self.request.path_params[name])

    def device(self) -> DeviceView:
        """The device of the path, by id or name. Raises ``NotFound``, ``Refused``."""
        return self.cloud.devices.find(self.user, self.path("device"))


Endpoint = Callable[[Request], Awaitable[Response]]
Handler = Callable[[Call], Awaitable[Response]]


def signed_in(handler: Handler) -> Endpoint:
    """A route that only the holder of a valid token may use; anybody else gets 401, and his body is not read."""

    async def endpoint(request: Request) -> Response:
        state, incoming = state_of(request), Incoming(request)
        presented = token_beside(request)
        if presented is None:
            presented = await _token_inside(request, incoming)
        user, token = identify(state, presented)
        return await handler(Call(request, state, user, token, await incoming.parsed()))

    return endpoint


def token_beside(request: Request) -> str | None:
    """The access token that came with the head of a request, valid or not."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    return request.query_params.get("access_token") or None


async def _token_inside(request: Request, incoming: Incoming) -> str | None:
    """The access token in a short body, or among the first parts of an upload. Raises 400, 401."""
    announced = request.headers.get("content-length", "0")
    multipart = is_multipart(request.headers)
    if not multipart and announced.isdecimal() and int(announced) > FIRST_BYTES:
        raise _not_found(_NOT_IN_LONG)
    seen = await incoming.first()
    if multipart:
        found = _TOKEN_PART.search(seen)
        return found[1].decode() if found else None
    if not incoming.complete:
        raise _not_found(_NOT_IN_LONG)
    return (await incoming.parsed()).text("access_token")


def _not_found(where: str = "") -> ApiError:
    return _unauthorized("invalid_request", f"The access token was not found{where}")


def identify(state: HttpState, presented: str | None) -> tuple[User, Token]:
    """Whose token this is. Raises 401."""
    if not presented:
        raise _not_found()
    token = state.cloud.users.token_info(presented)
    if token is not None and token.expired(state.cloud.clock.time()):
        raise _unauthorized("expired_token", "The access token provided has expired")
    user = state.cloud.users.user_for_token(presented)
    if token is None or user is None:
        raise _unauthorized("invalid_token", "The access token provided is invalid")
    return user, token


async def basic_user(request: Request) -> User:
    """The user whose name and password came by HTTP Basic. Raises 401, 429."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    try:
        name, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        name = password = ""
    user = await log_in(request, name, password) if scheme.lower() == "basic" else None
    if user is None:
        raise ApiError(
            401, "invalid_grant", "User credentials are invalid", headers={"WWW-Authenticate": "Basic"}
        )
    return user


async def log_in(request: Request, name: str, password: str) -> User | None:
    """The user ``name`` if this is the password. Raises 429 for who has guessed too often, 503 when all are busy."""
    state = state_of(request)
    address = request.client.host if request.client else ""
    try:
        with state.guesses.guess(address, name) as guess:
            user = await state.passwords.check(state.cloud.users, name, password)
            guess.right = user is not None
    except TryLater as later:
        status, error = (503, "busy") if later.busy else (429, "too_many_requests")
        raise ApiError(status, error, later.why, headers={"Retry-After": str(later.seconds)}) from None
    return user


def _unauthorized(error: str, description: str) -> ApiError:
    return ApiError(401, error, description, headers={"WWW-Authenticate": "Bearer"})
