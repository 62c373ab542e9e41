"""Uri-Path handling that the message builders and parsers share (protocol fact sheet 3, 3.4)."""

from __future__ import annotations

from hil.errors import UsageError, WireError
from hil.wire.coap.message import Message, Option, code_text


def path_options(resource: str, name: str = "") -> tuple[tuple[int, bytes], ...]:
    """Uri-Path options as a device writes them: the resource, then the whole name as one option."""
    first = (int(Option.URI_PATH), resource.encode())
    return (first, (int(Option.URI_PATH), name.encode())) if name else (first,)


def named_request(message: Message, code: int, resources: str) -> tuple[str, str]:
    """The resource letter and the name of a request such as ``POST /E/name``.

    ``resources`` holds the letters that will do. Raises ``WireError`` for any other request.
    """
    path = message.path
    if message.code != code or not path or len(path[0]) != 1 or path[0] not in resources:
        raise WireError(
            "another kind of message",
            expected=f"{code_text(code)} on /{' or /'.join(resources)}",
            found=f"{code_text(message.code)} on /{'/'.join(path)}",
        )
    return path[0], "/".join(path[1:])


def require_name(name: str, what: str) -> str:
    """``name``; ``WireError`` when it is empty."""
    if not name:
        raise WireError(f"{what} without a name")
    return name


def one_byte_token(token: bytes) -> bytes:
    """``token``, which a device reads at a fixed place. ``UsageError`` unless it is exactly 1 byte."""
    if len(token) != 1:
        raise UsageError("token for a device", expected="exactly 1 byte", found=token.hex() or "nothing")
    return token
