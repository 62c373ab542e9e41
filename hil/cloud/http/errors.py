"""Every failure of the HTTP API as JSON: which status, which words (cloud API fact sheet 2.2).

Clients lose the text of an error that is not JSON, so nothing leaves the API in another form, whether a route
raised it, the router, the body parser or a bug.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ExceptionHandler

from hil.cloud.http.state import state_of
from hil.cloud.state.trouble import StateFailed
from hil.errors import (
    DeviceOffline,
    DeviceTimeout,
    HilError,
    NotFound,
    NotOwner,
    Refused,
    Signal,
    UsageError,
    WireError,
)

_MAX_FOUND = 100  # characters
UNKNOWN_DEVICE = "I didn't recognize that device name or ID"
OFFLINE = "The device is not connected"


class ApiError(Signal):
    """An answer that is not a success.

    ``error`` is a code or a sentence, ``description`` what a person should read, ``extra`` more keys of the
    body, ``headers`` more headers of the answer.
    """

    def __init__(
        self,
        status: int,
        error: str,
        description: str = "",
        *,
        extra: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, error, description)
        self.status = status
        self.error = error
        self.description = description or error
        self.extra = dict(extra or {})
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """The JSON answer."""
        body = {"ok": False, "error": self.error, "error_description": self.description, **self.extra}
        return JSONResponse(body, self.status, self.headers)


def bad_request(description: str) -> ApiError:
    """400: the request cannot be understood."""
    return ApiError(400, "bad_request", description)


def translate(error: HilError, offline_status: int) -> ApiError:
    """The API's answer to an error of the cloud. The hints of the harness stay out of it."""
    text = _in_words(error)
    match error:
        case DeviceOffline():
            # One generation of clients shows the first, the other the second: each is a sentence of its own.
            return ApiError(offline_status, OFFLINE, f"{OFFLINE}: {error.what}")
        case StateFailed():
            # Which file of the host it is about is not for everybody who asks.
            return ApiError(503, "service_unavailable", "the cloud cannot store this now; try again later")
        case DeviceTimeout():
            return ApiError(408, "Timed out.", error.what)
        case NotFound():
            return ApiError(404, error.what, extra={"info": error.what})
        case NotOwner():
            return ApiError(403, error.what)
        case Refused() | UsageError() | WireError():
            return ApiError(400, error.what, text)
        case _:
            return ApiError(500, "internal_error", error.what)


def _in_words(error: HilError) -> str:
    """What is wrong and what would be right; of what was found not more than a person reads."""
    found = error.found if len(error.found) <= _MAX_FOUND else f"{error.found[:_MAX_FOUND]}..."
    details = [f"expected {error.expected}" if error.expected else "", f"found {found}" if found else ""]
    told = ", ".join(filter(None, details))
    return f"{error.what} ({told})" if told else error.what


async def _api_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error.response()


async def _cloud_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HilError)
    return translate(error, state_of(request).cloud.config.policy.offline_status).response()


async def _router_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    what = f"{request.method} {request.url.path}"
    described = {404: f"this cloud has no {what}", 405: f"this cloud has no {what}"}
    description = described.get(error.status_code, error.detail)
    words = {404: "not_found", 405: "method_not_allowed", 413: "too_large", 503: "busy"}
    code = words.get(error.status_code, "bad_request")
    return ApiError(error.status_code, code, description, headers=error.headers).response()


async def _bug(_request: Request, error: Exception) -> Response:
    return ApiError(500, "internal_error", f"the cloud failed: {type(error).__name__}").response()


HANDLERS: dict[Any, ExceptionHandler] = {
    ApiError: _api_error,
    HilError: _cloud_error,
    HTTPException: _router_error,
    Exception: _bug,
}
