"""Messages of OTA protocol V3: builders and parsers (protocol fact sheet 4.2, worked example 8.7)."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from hil.device.results import Result
from hil.errors import WireError
from hil.wire.coap.message import Code, Message, Option, Type, encode_uint, encode_uint_device
from hil.wire.messages.path import one_byte_token
from hil.wire.ota.common import error_payload

MIN_CHUNK_SIZE = 512
MAX_CHUNK_SIZE = 1136  # (1152 - 14) rounded down to a multiple of 4
SHA_SIZE = 32
_WORD = 4

_CODES: dict[int, Code] = {
    Result.PROTOCOL: Code.BAD_REQUEST,
    Result.INVALID_ARGUMENT: Code.BAD_REQUEST,
    Result.BAD_DATA: Code.BAD_REQUEST,
    Result.TIMEOUT: Code.GATEWAY_TIMEOUT,
}


@dataclass(frozen=True, slots=True)
class UpdateStart:
    """The offer of a file; sizes in bytes. Without ``sha256`` the update cannot be resumed."""

    file_size: int
    chunk_size: int
    sha256: bytes | None = None
    discard: bool = False
    module_function: int | None = None


@dataclass(frozen=True, slots=True)
class StartReply:
    """The device takes the file: ``window`` in chunks, ``offset`` bytes it has already."""

    window: int
    offset: int


@dataclass(frozen=True, slots=True)
class UpdateAck:
    """Every chunk up to ``cumulative`` has arrived, and those in ``early`` beyond it."""

    cumulative: int
    early: frozenset[int]


@dataclass(frozen=True, slots=True)
class UpdateFinish:
    """The end of an update; ``discard`` drops what a cancelled one has stored."""

    cancel: bool
    discard: bool


def update_start(mid: int, token: bytes, start: UpdateStart) -> Message:
    """UpdateStart, the cloud's offer."""
    options = [_path("S"), (int(Option.FILE_SIZE), encode_uint(start.file_size))]
    if start.sha256 is not None:
        options.append((int(Option.FILE_SHA_256), start.sha256))
    options.append((int(Option.CHUNK_SIZE), encode_uint(start.chunk_size)))
    if start.discard:
        options.append((int(Option.DISCARD_DATA), b""))
    if start.module_function is not None:
        options.append((int(Option.MODULE_FUNCTION), encode_uint(start.module_function)))
    return Message(Type.CON, Code.POST, mid, one_byte_token(token), tuple(options))


def parse_update_start(message: Message) -> UpdateStart:
    """The offer in ``message``. Raises ``WireError`` for what a device refuses unseen."""
    file_size = message.uint(Option.FILE_SIZE)
    chunk_size = message.uint(Option.CHUNK_SIZE)
    sha256 = message.option(Option.FILE_SHA_256)
    if not message.token:
        raise WireError("UpdateStart without a token")
    if not file_size:
        raise WireError("UpdateStart file size", expected="1 or more", found=str(file_size))
    if chunk_size is None or chunk_size % 4 or not MIN_CHUNK_SIZE <= chunk_size <= MAX_CHUNK_SIZE:
        expected = f"a multiple of 4 from {MIN_CHUNK_SIZE} to {MAX_CHUNK_SIZE}"
        raise WireError("UpdateStart chunk size", expected=expected, found=str(chunk_size))
    if sha256 is not None and len(sha256) != SHA_SIZE:
        raise WireError("UpdateStart hash", expected=f"{SHA_SIZE} bytes", found=f"{len(sha256)} bytes")
    discard = _switch(message, Option.DISCARD_DATA)
    return UpdateStart(file_size, chunk_size, sha256, discard, message.uint(Option.MODULE_FUNCTION))


def start_reply(mid: int, token: bytes, reply: StartReply) -> Message:
    """The device's separate response to UpdateStart."""
    options = (
        (int(Option.WINDOW_SIZE), encode_uint_device(reply.window)),
        (int(Option.FILE_SIZE), encode_uint_device(reply.offset)),
    )
    return Message(Type.CON, Code.CREATED, mid, token, options)


def parse_start_reply(message: Message) -> StartReply:
    """Window and offset. Raises ``WireError`` when either is missing or the window is closed."""
    window, offset = message.uint(Option.WINDOW_SIZE), message.uint(Option.FILE_SIZE)
    if not window or offset is None:
        raise WireError(
            "reply to UpdateStart",
            expected="a window and an offset",
            found=f"window {window}, offset {offset}",
        )
    return StartReply(window, offset)


def update_chunk(mid: int, index: int, data: bytes) -> Message:
    """Chunk ``index``, counted from 1 at the offset. It carries no token."""
    return Message(
        Type.NON,
        Code.POST,
        mid,
        options=(_path("C"), (int(Option.CHUNK_INDEX), encode_uint(index))),
        payload=data,
    )


def update_ack(mid: int, cumulative: int, early: Collection[int]) -> Message:
    """UpdateAck: the bitmap's bit i stands for chunk ``cumulative + 1 + i``, in little-endian 32-bit words."""
    bits = sum(1 << (index - cumulative - 1) for index in early)
    words = -(-bits.bit_length() // (8 * _WORD))
    options = (_path("A"), (int(Option.CHUNK_INDEX), encode_uint_device(cumulative)))
    return Message(Type.NON, Code.POST, mid, options=options, payload=bits.to_bytes(words * _WORD, "little"))


def parse_update_ack(message: Message) -> UpdateAck:
    """What the device has. Raises ``WireError`` without an index or for a broken bitmap."""
    cumulative = message.uint(Option.CHUNK_INDEX)
    if cumulative is None:
        raise WireError("UpdateAck without a chunk index")
    if len(message.payload) % _WORD:
        raise WireError("UpdateAck bitmap", expected="whole words of 4 bytes", found=message.payload.hex())
    bits = int.from_bytes(message.payload, "little")
    early = frozenset(cumulative + 1 + bit for bit in range(bits.bit_length()) if bits >> bit & 1)
    return UpdateAck(cumulative, early)


def update_finish(mid: int, token: bytes, *, cancel: bool = False, discard: bool = False) -> Message:
    """UpdateFinish: check and apply the file, or cancel the update."""
    options = [_path("F")]
    if discard:
        options.append((int(Option.DISCARD_DATA), b""))
    if cancel:
        options.append((int(Option.CANCEL_UPDATE), b""))
    return Message(Type.CON, Code.POST, mid, one_byte_token(token), tuple(options))


def parse_update_finish(message: Message) -> UpdateFinish:
    """What UpdateFinish asks for. Raises ``WireError`` for what a device refuses unseen."""
    if not message.token:
        raise WireError("UpdateFinish without a token")
    return UpdateFinish(_switch(message, Option.CANCEL_UPDATE), _switch(message, Option.DISCARD_DATA))


def finish_reply(mid: int, token: bytes, stats: Mapping[str, int]) -> Message:
    """The device's last word. It applies the update when the cloud has acknowledged this message."""
    payload = json.dumps(dict(stats), separators=(",", ":")).encode()
    return Message(Type.CON, Code.CHANGED, mid, token, payload=payload)


def error_reply(type_: Type, mid: int, token: bytes, error: int, text: str) -> Message:
    """An error response; ``error`` is a negative system error, which also picks the response code."""
    code = _CODES.get(error, Code.SERVICE_UNAVAILABLE)
    return Message(type_, code, mid, token, payload=error_payload(error, text))


def _path(name: str) -> tuple[int, bytes]:
    return int(Option.URI_PATH), name.encode()


def _switch(message: Message, option: Option) -> bool:
    """Whether an option without a value is there."""
    value = message.option(option)
    if value:
        raise WireError(f"option {option.name} has a value", expected="none", found=value.hex())
    return value is not None
