"""Request bodies: JSON, forms and uploads, as sloppily as clients in the wild send them.

Uploads come as ``multipart/form-data;boundary=`` without a space, often chunked, in parts called ``file``,
``file2`` and so on, with file names that may hold directories (cloud API fact sheet 0.9).
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qsl

from starlette.datastructures import FormData, Headers, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hil.cloud.http.errors import bad_request

#: Of a request that has shown no token yet, not more than this is read, in bytes.
FIRST_BYTES = 64 * 1024
_FORM, _MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data"
_MAX_TEXT = 1024 * 1024  # bytes of JSON or of a form, and of a field beside an upload
_MAX_FIELDS = 200
_MAX_FILES = 100
_WHOLE = range(-(2**53) + 1, 2**53)  # the numbers that JSON carries unharmed
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
            number = int(value)
        except (TypeError, ValueError):
            raise bad_request(f"{name} must be a whole number") from None
        if number not in _WHOLE:
            raise bad_request(f"{name} is out of range")
        return number


class Incoming:
    """The body of one request while it comes. Nothing is read until somebody asks."""

    def __init__(self, request: Request) -> None:
        self._stream = request.stream()
        self._headers = request.headers
        self._seen = bytearray()
        self._ended = False
        self._body: Body | None = None

    async def first(self) -> bytes:
        """What comes first, the whole body if it is no longer than :data:`FIRST_BYTES`."""
        while not self._ended and len(self._seen) < FIRST_BYTES:
            await self._more()
        return bytes(self._seen)

    async def parsed(self) -> Body:
        """All of it, parsed; an empty one is an empty :class:`Body`. Raises 400 and 413. May be asked twice."""
        if self._body is None:
            self._body = await self._parse()
        return self._body

    async def _parse(self) -> Body:
        kind = _kind(self._headers)
        if kind == _MULTIPART:
            return await _from_multipart(self._headers, self._chunks())
        if kind and kind != _FORM and not kind.endswith("json"):
            return Body()
        raw = bytearray()
        async for chunk in self._chunks():
            raw += chunk
            if len(raw) > _MAX_TEXT:
                raise HTTPException(413, f"more than {_MAX_TEXT} bytes that are no upload")
        return _from_form(bytes(raw)) if kind == _FORM else _from_json(bytes(raw))

    @property
    def complete(self) -> bool:
        """Whether :meth:`first` has been everything."""
        return self._ended

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        while True:
            if self._seen:
                chunk, self._seen = bytes(self._seen), bytearray()
                yield chunk
            if self._ended:
                return
            await self._more()

    async def _more(self) -> None:
        try:
            chunk = await anext(self._stream, None)
        except ClientDisconnect:
            raise bad_request("the client left before its body had come") from None
        if chunk is None:
            self._ended = True
        else:
            self._seen += chunk


async def short_body(request: Request) -> Body:
    """The body of a request that nobody must sign. Raises 400, and 413 for more than :data:`FIRST_BYTES`."""
    incoming = Incoming(request)
    if len(await incoming.first()) > FIRST_BYTES or not incoming.complete:
        raise HTTPException(413, f"more than {FIRST_BYTES} bytes", headers={"Connection": "close"})
    return await incoming.parsed()


def is_multipart(headers: Headers) -> bool:
    """Whether a request of these ``headers`` brings uploads."""
    return _kind(headers) == _MULTIPART


def _kind(headers: Headers) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


class _InMemory(MultiPartParser):
    """Keeps files off the disk: what a body may hold is bounded, descriptors are scarcer."""

    spool_max_size = 0  # SpooledTemporaryFile: no roll-over


def _from_json(raw: bytes) -> Body:
    if not raw.strip():
        return Body()
    try:
        fields = json.loads(raw)
    except (ValueError, RecursionError):
        raise bad_request("the body is not JSON") from None
    if not isinstance(fields, dict):
        raise bad_request("the body must be a JSON object")
    try:
        # What cannot be written again is no JSON that anybody could be answered with: 1e400, half a surrogate pair.
        json.dumps(fields, allow_nan=False, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise bad_request("the body holds half a surrogate pair, which is no character") from None
    except ValueError:
        raise bad_request("the body holds a number that is out of range") from None
    return Body(fields)


def _from_form(raw: bytes) -> Body:
    """A form, its text in UTF-8 whether escaped or, as curl sends it, not."""
    try:
        return Body(
            dict(parse_qsl(raw.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS))
        )
    except UnicodeDecodeError:
        raise bad_request("the form is not UTF-8") from None
    except ValueError:
        raise bad_request(f"the form has more than {_MAX_FIELDS} fields") from None


async def _from_multipart(headers: Headers, chunks: AsyncGenerator[bytes, None]) -> Body:
    parser = _InMemory(headers, chunks, max_files=_MAX_FILES, max_fields=_MAX_FIELDS, max_part_size=_MAX_TEXT)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise bad_request(error.message) from None
    return await _from_parts(form)


async def _from_parts(form: FormData) -> Body:
    fields: dict[str, Any] = {}
    uploads = []
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            uploads.append(Upload(name, safe_name(value.filename or ""), await value.read()))
        else:
            fields[name] = value
    await form.close()
    return Body(fields, tuple(uploads))


def safe_name(name: str) -> str:
    """The last component of a client's file name, without anything that could mean a path."""
    last = PurePosixPath(name.replace("\\", "/")).name
    return _UNSAFE.sub("_", last)[-_MAX_FILE_NAME:].lstrip(".") or "unnamed"


class BodyLimit:
    """ASGI middleware: a body longer than ``limit`` bytes, announced or chunked, is answered with 413.

    Bodies that together are longer than ``together``, with 503: who sends many at once tries again.
    """

    def __init__(self, app: ASGIApp, limit: int, together: int) -> None:
        self._app = app
        self._limit = limit
        self._together = together
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        taken = 0

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            size = len(message.get("body", b""))
            taken += size
            self._held += size
            if taken > self._limit:
                raise HTTPException(413, f"more than {self._limit} bytes", headers={"Connection": "close"})
            if self._held > self._together:
                raise HTTPException(
                    503,
                    f"bodies of more than {self._together} bytes are on their way together",
                    headers={"Connection": "close", "Retry-After": "1"},
                )
            return message

        try:
            await self._app(scope, counted, send)
        finally:
            self._held -= taken
