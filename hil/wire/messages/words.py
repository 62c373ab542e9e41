"""One CoAP message in one line, for people who look for a fault."""

from __future__ import annotations

from hil.errors import WireError
from hil.printable import printable
from hil.wire.coap.message import Block, Message, Option, code_text, decode
from hil.wire.messages import classify

_SHOWN = 120  # bytes of a payload
_BLOCKS = (Option.BLOCK1, Option.BLOCK2)
_NAMED = {each.value: each.name.lower() for each in Option}


def in_words(data: bytes, size: int | None = None) -> str:
    """``CON POST /E/garden/failing  event  mid 4711  token 5a  "1"``.

    ``size`` is the whole message's, in bytes, when ``data`` is only its beginning. Never raises: what is no CoAP is
    shown as bytes. Control characters of names and payloads are escaped.
    """
    try:
        message = decode(data)
    except WireError as error:
        return f"not CoAP ({error.what}): {data[:_SHOWN].hex()}"
    words = [
        f"{message.type.name} {code_text(message.code)}{_target(message)}",
        classify(message).name.lower(),
    ]
    words += [f"mid {message.mid}"]
    words += [f"token {message.token.hex()}"] if message.token else []
    words += [_option(number, value) for number, value in message.options if _told(number)]
    if message.payload:
        words.append(_payload(message.payload, len(message.payload) + (size or len(data)) - len(data)))
    return "  ".join(word for word in words if word)


def _target(message: Message) -> str:
    path = "/".join(_printable(value) for value in message.options_of(Option.URI_PATH))
    query = "&".join(_printable(value) for value in message.options_of(Option.URI_QUERY))
    return (f" /{path}" if path else "") + (f"?{query}" if query else "")


def _told(number: int) -> bool:
    return number not in (Option.URI_PATH, Option.URI_QUERY)


def _option(number: int, value: bytes) -> str:
    name = _NAMED.get(number, f"option {number}").replace("_", "-")
    if number in _BLOCKS:
        try:
            block = Block.decode(value)
        except WireError:
            return f"{name} 0x{value.hex()}"
        return f"{name} {block.number}/{'more' if block.more else 'last'}/{block.size}"
    if len(value) > 4:
        return f"{name} 0x{value.hex()}"
    return f"{name} {int.from_bytes(value)}"


def _payload(payload: bytes, size: int) -> str:
    shown = payload[:_SHOWN]
    clipped = f"... ({size} bytes)" if size > len(shown) else ""
    try:
        text = shown.decode()
    except UnicodeDecodeError:
        return f"0x{shown.hex()}{clipped}"
    return f'"{printable(text)}"{clipped}' if text.isprintable() else f"0x{shown.hex()}{clipped}"


def _printable(value: bytes) -> str:
    return printable(value.decode("utf-8", "backslashreplace"))
