"""What the data of an event looks like to people: text, a data URL, or JSON (cloud API fact sheet 6).

Structured data is CBOR.
"""

from __future__ import annotations

import base64
import json

from hil.device import cbor
from hil.errors import WireError
from hil.wire.coap.message import ContentFormat

_BINARY_TYPES = {
    ContentFormat.OCTET_STREAM: "application/octet-stream",
    ContentFormat.JPEG: "image/jpeg",
    ContentFormat.PNG: "image/png",
}
_TEXT = (None, ContentFormat.TEXT, ContentFormat.LINK_FORMAT, ContentFormat.XML, ContentFormat.JSON)
STRUCTURED = (ContentFormat.STRUCTURED, ContentFormat.CBOR)


def is_text(content_format: int | None) -> bool:
    """Whether every device takes this; anything else it must have asked for (protocol fact sheet 3.5)."""
    return content_format in _TEXT


def is_structured(content_format: int | None) -> bool:
    """Whether this is CBOR, in either of its two numbers."""
    return content_format in STRUCTURED


def readable(data: bytes, content_format: int | None) -> str:
    """Event data as the cloud shows it. Never raises: what does not parse is shown as binary."""
    if is_structured(content_format):
        try:
            return json.dumps(cbor.decode(data), separators=(",", ":"), ensure_ascii=False)
        except WireError:
            return _data_url(data, "application/octet-stream")
    for number, media_type in _BINARY_TYPES.items():
        if content_format == number:
            return _data_url(data, media_type)
    return data.decode("utf-8", "replace")


def _data_url(data: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"
