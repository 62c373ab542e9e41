"""Request bodies: JSON, forms and uploads, as sloppily as clients in the wild send them.

Uploads come as ``multipart/form-data;boundary=`` without a space, often chunked, in parts called ``file``,
``file2`` and so on, with file names that may hold directories (cloud API fact sheet 0.9).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hil.cloud.http.errors import bad_request

_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
_UNSAFE = re.compile(r"[^A-Za-z0-9._+-]")
_MAX_FILE_NAME = 100


@dataclass(frozen=True, slots=True)
class Upload:
    """One uploaded file; ``filename`` is safe to show and to use inside a directory of ours."""

    part: str
    filename: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Body:
    """What a request carried. ``fields`` holds strings from a form, anything from JSON."""

    fields: dict[str, Any] = field(default_factory=dict)
    uploads: tuple[Upload, ...] = ()

    def text(self, *names: str) -> str | None:
        """The first of the fields called ``names`` that is there, as text; JSON that is no string stays JSON."""
        for name in names:
            value = self.fields.get(name)
            if value is not None:
                return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
        return None

    def required(self, *names: str) -> str:
        """Like :meth:`text`. Raises 400 when none of them is there or it is empty."""
        value = self.text(*names)
        if not value:
            raise bad_request(f"{names[0]} is missing")
        return value

    def flag(self, name: str, default: bool) -> bool:
        """A yes or no, in JSON or as the words forms use; ``null`` is as good as nothing. Raises 400."""
        value = self.fields.get(name)
        if value is None:
            return default
        if isinstance(value, bool):
            return value
        word = str(value).lower()
        if word in ("true", "1", "on", "yes"):
            return True
        if word in ("false", "0", "off", "no"):
            return False
        raise bad_request(f"{name} must be true or false, not {word[:20]!r}")

    def number(self, name: str, default: int) -> int:
        """A whole number, in JSON or as text; ``null`` is as good as nothing. Raises 400."""
        value = self.fields.get(name)
        if value is None:
            return default
        try:
            return int(value)
        except (TypeError, ValueError):
            raise bad_request(f"{name} must be a whole number") from None


async def read_body(request: Request) -> Body:
    """Parse the body of ``request``; an empty one is an empty :class:`Body`. Raises 400 and 413."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in _FORMS:
        async with request.form(max_files=100, max_fields=200) as form:
            return await _from_form(form)
    raw = await request.body()
    if not raw.strip() or (kind and not kind.endswith("json")):
        return Body()
    try:
        fields = json.loads(raw)
    except (ValueError, RecursionError):
        raise bad_request("the body is not JSON") from None
    if not isinstance(fields, dict):
        raise bad_request("the body must be a JSON object")
    return Body(fields)


async def _from_form(form: FormData) -> Body:
    fields: dict[str, Any] = {}
    uploads = []
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            uploads.append(Upload(name, safe_name(value.filename or ""), await value.read()))
        else:
            fields[name] = value
    return Body(fields, tuple(uploads))


def safe_name(name: str) -> str:
    """The last component of a client's file name, without anything that could mean a path."""
    last = PurePosixPath(name.replace("\\", "/")).name
    return _UNSAFE.sub("_", last)[-_MAX_FILE_NAME:].lstrip(".") or "unnamed"


class BodyLimit:
    """ASGI middleware: a body longer than ``limit`` bytes, announced or chunked, is answered with 413."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        taken = 0

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._limit:
                raise HTTPException(413, f"more than {self._limit} bytes", headers={"Connection": "close"})
            return message

        await self._app(scope, counted, send)
