"""Messages of the session itself: server Hello, time, signal, key change, goodbye (protocol fact sheet 3.7, 3.9)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from hil.device.protobuf import decode_varint, encode_varint
from hil.errors import UsageError, WireError
from hil.wire.coap.message import Code, Message, Option, Type
from hil.wire.messages.path import named_request, one_byte_token, path_options

LAST_SECOND = 0xFFFF_FFFF  # since 1970: what the 4 bytes of a time reply can say, until 2106-02-07


class CloudReason(IntEnum):
    """Why a device leaves the cloud."""

    ERROR = 1
    USER = 2
    NETWORK = 3
    LISTENING = 4
    RESET = 5
    SLEEP = 6
    UNKNOWN = 7
    SERVER_MOVED = 8


class NetworkReason(IntEnum):
    """Why a device leaves its network."""

    ERROR = 1
    USER = 2
    OFF = 3
    LISTENING = 4
    SLEEP = 5
    RESET = 6
    UNKNOWN = 7


@dataclass(frozen=True, slots=True)
class Goodbye:
    """A device's goodbye; numbers as they are on the wire, ``None`` for what it does not say.

    ``reset_reason`` is a Device OS reset reason (140: the user's), ``sleep_seconds`` how long it will be away.
    """

    cloud_reason: int | None = None
    reset_reason: int | None = None
    sleep_seconds: int | None = None
    network_reason: int | None = None


def server_hello(mid: int) -> Message:
    """The cloud's ``POST /h``: a TCP device waits 4 s for it, a UDP device takes it as a courtesy."""
    return Message(Type.NON, Code.POST, mid, options=path_options("h"))


def time_request(mid: int, token: bytes) -> Message:
    """A device's ``GET /t``."""
    return Message(Type.CON, Code.GET, mid, one_byte_token(token), path_options("t"))


def time_reply(request: Message, unix_seconds: int) -> Message:
    """The answer to ``request``, inside its ACK: the device reads the time at a fixed place."""
    if not 0 <= unix_seconds <= LAST_SECOND:
        raise UsageError("time", expected="0..2**32-1 seconds", found=str(unix_seconds))
    return Message(
        Type.ACK, Code.CONTENT, request.mid, request.token, payload=unix_seconds.to_bytes(4, "big")
    )


def parse_time_reply(message: Message) -> int:
    """Seconds since 1970 in a time reply. Raises ``WireError``."""
    if message.code != Code.CONTENT or len(message.payload) != 4:
        raise WireError(
            "time reply", expected="2.05 with 4 bytes", found=message.payload[:16].hex() or "nothing"
        )
    return int.from_bytes(message.payload, "big")


def signal(mid: int, token: bytes, on: bool) -> Message:
    """``PUT /s``: the rainbow on the device's LED starts or stops."""
    options = (*path_options("s"), (Option.URI_QUERY, bytes((on,))))
    return Message(Type.CON, Code.PUT, mid, one_byte_token(token), options)


def parse_signal(message: Message) -> bool:
    """Whether a signal request says on. Raises ``WireError``."""
    named_request(message, Code.PUT, "s")
    value = message.option(Option.URI_QUERY)
    if not value:
        raise WireError("signal without a value", expected="Uri-Query of 1 byte")
    return value[0] != 0


def key_change(mid: int, token: bytes = b"") -> Message:
    """``PUT /k``: a UDP device throws its session away and connects anew."""
    return Message(Type.CON, Code.PUT, mid, token, (*path_options("k"), (Option.URI_QUERY, b"\x01")))


def goodbye(mid: int, content: Goodbye, *, confirmable: bool) -> Message:
    """A device's ``POST /x``; the unconfirmed form of TCP boards says that no response is wanted."""
    options = path_options("x")
    if not confirmable:
        options += ((Option.NO_RESPONSE, b""),)
    payload = _encode_goodbye(content)
    return Message(Type.CON if confirmable else Type.NON, Code.POST, mid, options=options, payload=payload)


def parse_goodbye(message: Message) -> Goodbye:
    """The content of a goodbye; fields of later Device OS versions are passed over. Raises ``WireError``."""
    named_request(message, Code.POST, "x")
    flags, position = decode_varint(message.payload, 0)
    values: list[int | None] = []
    for bit in range(4):
        value = None
        if flags & 1 << bit:
            value, position = decode_varint(message.payload, position)
        values.append(value)
    return Goodbye(*values)


def _encode_goodbye(content: Goodbye) -> bytes:
    values = (content.cloud_reason, content.reset_reason, content.sleep_seconds, content.network_reason)
    flags = sum(1 << bit for bit, value in enumerate(values) if value is not None)
    return encode_varint(flags) + b"".join(encode_varint(value) for value in values if value is not None)
