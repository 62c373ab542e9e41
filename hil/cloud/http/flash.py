"""Firmware uploads for one device (cloud API fact sheet 2.3 "PUT /v1/devices/:d multipart")."""

from __future__ import annotations

from pathlib import PurePosixPath

from starlette.responses import JSONResponse, Response

from hil.cloud.http.body import Upload
from hil.cloud.http.call import Call
from hil.cloud.http.errors import ApiError

_SOURCES = frozenset({".ino", ".pde", ".c", ".cc", ".cpp", ".h", ".hpp", ".properties"})


async def flash(call: Call) -> Response:
    """Start an update with the one uploaded binary; how it goes on is told by ``spark/flash/status`` events."""
    view = call.device()
    await call.cloud.start_flash(view.id, _binary(call.body.uploads).data)
    started = "Update started"
    return JSONResponse({"ok": True, "id": view.id, "status": started, "message": started})


def _binary(uploads: tuple[Upload, ...]) -> Upload:
    """The binary among ``uploads``. Raises 400: sources are compiled elsewhere, bundles are taken apart there."""
    for upload in uploads:
        kind = PurePosixPath(upload.filename).suffix.lower()
        if kind in _SOURCES:
            raise _refused(f"this cloud has no compiler: {upload.filename} must be built first")
        if kind == ".zip":
            raise _refused(f"this cloud takes no bundles: send the binary out of {upload.filename}")
    if len(uploads) != 1:
        raise _refused(f"send one binary at a time, not {len(uploads)}")
    if not uploads[0].data:
        raise _refused(f"{uploads[0].filename} is empty")
    return uploads[0]


def _refused(reason: str) -> ApiError:
    return ApiError(400, "bad_request", reason, extra={"errors": [reason]})
