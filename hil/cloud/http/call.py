"""Who is calling: access tokens in their three places, and the wrapper of every route that needs one.

Facts: cloud API fact sheet 2.1 (bearer header, ``access_token`` in the query or in a form).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from hil.cloud.core.api import Api
from hil.cloud.http.body import Body, read_body
from hil.cloud.http.errors import ApiError
from hil.cloud.http.state import HttpState, state_of
from hil.cloud.state.devices import DeviceView
from hil.cloud.state.users import Token, User


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
    """A route that only the holder of a valid token may use; anybody else gets 401."""

    async def endpoint(request: Request) -> Response:
        body = await read_body(request)
        state = state_of(request)
        user, token = identify(state, presented_token(request, body))
        return await handler(Call(request, state, user, token, body))

    return endpoint


def presented_token(request: Request, body: Body) -> str | None:
    """The access token a request carries, valid or not."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    return request.query_params.get("access_token") or body.text("access_token")


def identify(state: HttpState, presented: str | None) -> tuple[User, Token]:
    """Whose token this is. Raises 401."""
    if not presented:
        raise _unauthorized("invalid_request", "The access token was not found")
    token = state.cloud.users.token_info(presented)
    if token is not None and token.expired(state.cloud.clock.time()):
        raise _unauthorized("expired_token", "The access token provided has expired")
    user = state.cloud.users.user_for_token(presented)
    if token is None or user is None:
        raise _unauthorized("invalid_token", "The access token provided is invalid")
    return user, token


def basic_user(request: Request) -> User:
    """The user whose name and password came by HTTP Basic. Raises 401."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    try:
        name, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        name = password = ""
    user = state_of(request).cloud.users.authenticate(name, password) if scheme.lower() == "basic" else None
    if user is None:
        raise ApiError(
            401, "invalid_grant", "User credentials are invalid", headers={"WWW-Authenticate": "Basic"}
        )
    return user


def _unauthorized(error: str, description: str) -> ApiError:
    return ApiError(401, error, description, headers={"WWW-Authenticate": "Bearer"})
