"""CBOR (RFC 8949), as much of it as a device's ``Variant`` can hold, read as JSON can hold it."""

from __future__ import annotations

import base64
import struct
from typing import Any

from hil.errors import WireError

_MAX_DEPTH = 32
_SIMPLE = {20: False, 21: True, 22: None, 23: None}
_FLOATS = {25: ">e", 26: ">f", 27: ">d"}


def decode(data: bytes) -> Any:
    """The one item in ``data``; a byte string becomes ``{"_type":"buffer","_data":base64}``.

    Raises ``WireError`` on anything that is not one whole item.
    """
    value, position = _item(data, 0, 0)
    if position != len(data):
        raise WireError("CBOR with something behind it", found=data[position:].hex())
    return value


def _item(data: bytes, position: int, depth: int) -> tuple[Any, int]:
    if position >= len(data) or depth > _MAX_DEPTH:
        raise WireError("CBOR ends too soon or nests too deep", found=data[:32].hex())
    major, info = data[position] >> 5, data[position] & 0x1F
    position += 1
    if major == 7:
        return _simple(data, position, info)
    count, position = _argument(data, position, info)
    if major == 0:
        return count, position
    if major == 1:
        return -1 - count, position
    if major in (2, 3):
        return _string(data, position, count, text=major == 3)
    if major == 4:
        return _array(data, position, count, depth)
    if major == 5:
        return _map(data, position, count, depth)
    return _item(data, position, depth + 1)  # a tag says nothing that JSON could keep


def _argument(data: bytes, position: int, info: int) -> tuple[int, int]:
    if info < 24:
        return info, position
    width = {24: 1, 25: 2, 26: 4, 27: 8}.get(info)
    if width is None or position + width > len(data):
        raise WireError("CBOR argument", expected="a definite length", found=data[:32].hex())
    return int.from_bytes(data[position : position + width], "big"), position + width


def _simple(data: bytes, position: int, info: int) -> tuple[Any, int]:
    if info in _SIMPLE:
        return _SIMPLE[info], position
    form = _FLOATS.get(info)
    if form is None or position + struct.calcsize(form) > len(data):
        raise WireError("CBOR simple value", found=data[:32].hex())
    return struct.unpack_from(form, data, position)[0], position + struct.calcsize(form)


def _string(data: bytes, position: int, count: int, *, text: bool) -> tuple[Any, int]:
    end = position + count
    if end > len(data):
        raise WireError("CBOR string runs past the end", found=data[:32].hex())
    raw = data[position:end]
    if text:
        return raw.decode("utf-8", "replace"), end
    return {"_type": "buffer", "_data": base64.b64encode(raw).decode()}, end


def _array(data: bytes, position: int, count: int, depth: int) -> tuple[Any, int]:
    if count > len(data):
        raise WireError("CBOR array runs past the end", found=data[:32].hex())
    items = []
    for _ in range(count):
        value, position = _item(data, position, depth + 1)
        items.append(value)
    return items, position


def _map(data: bytes, position: int, count: int, depth: int) -> tuple[Any, int]:
    if count > len(data):
        raise WireError("CBOR map runs past the end", found=data[:32].hex())
    result = {}
    for _ in range(count):
        key, position = _item(data, position, depth + 1)
        result[str(key)], position = _item(data, position, depth + 1)
    return result, position
