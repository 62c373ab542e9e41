"""Messages of the legacy chunked update protocol: builders and parsers.

Facts: protocol fact sheet 4.1, worked example 8.7. The device reads these messages at fixed offsets, so requests
carry a token of exactly 1 byte.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from enum import IntFlag

from hil.errors import WireError
from hil.wire.coap.message import Code, Message, Option, Type
from hil.wire.messages.path import one_byte_token

_BEGIN = struct.Struct(">BHIBI")
_PATH_UPDATE = (int(Option.URI_PATH), b"u")
_PATH_CHUNK = (int(Option.URI_PATH), b"c")


class BeginFlag(IntFlag):
    """Flags of UpdateBegin and, by the same bit, of UpdateReady."""

    NONE = 0
    FAST = 1


@dataclass(frozen=True, slots=True)
class UpdateBegin:
    """The offer of a file: sizes in bytes; ``store`` 0 and ``address`` 0 mean firmware."""

    flags: BeginFlag
    chunk_size: int
    file_size: int
    store: int = 0
    address: int = 0


@dataclass(frozen=True, slots=True)
class Chunk:
    """One piece of the file; ``index`` counts from 0 and is there in fast mode only."""

    crc32: int
    index: int | None
    data: bytes

    @property
    def intact(self) -> bool:
        """Whether the CRC-32 is that of the data."""
        return zlib.crc32(self.data) == self.crc32


def update_begin(mid: int, token: bytes, begin: UpdateBegin) -> Message:
    """UpdateBegin, 20 bytes."""
    payload = _BEGIN.pack(begin.flags, begin.chunk_size, begin.file_size, begin.store, begin.address)
    return Message(Type.CON, Code.POST, mid, one_byte_token(token), (_PATH_UPDATE,), payload)


def parse_update_begin(message: Message) -> UpdateBegin:
    """The offer in an UpdateBegin or SaveBegin. Raises ``WireError`` if a device could not read it."""
    if len(message.token) != 1:
        raise WireError("UpdateBegin token", expected="exactly 1 byte", found=message.token.hex() or "none")
    if len(message.payload) < _BEGIN.size:
        raise WireError(
            "UpdateBegin payload", expected=f"{_BEGIN.size} bytes", found=f"{len(message.payload)} bytes"
        )
    flags, chunk_size, file_size, store, address = _BEGIN.unpack_from(message.payload)
    return UpdateBegin(BeginFlag(flags & BeginFlag.FAST), chunk_size, file_size, store, address)


def update_ready(mid: int, token: bytes, *, fast: bool, confirmable: bool) -> Message:
    """The device is ready for chunks, in fast mode or chunk by chunk."""
    return Message(_type(confirmable), Code.CHANGED, mid, token, payload=bytes((fast,)))


def chunk(mid: int, token: bytes, data: bytes, index: int | None, *, confirmable: bool) -> Message:
    """A chunk with its CRC-32; ``index`` is ``None`` outside fast mode."""
    options = [_PATH_CHUNK, (int(Option.URI_QUERY), zlib.crc32(data).to_bytes(4, "big"))]
    if index is not None:
        options.append((int(Option.URI_QUERY), index.to_bytes(2, "big")))
    return Message(_type(confirmable), Code.POST, mid, one_byte_token(token), tuple(options), data)


def parse_chunk(message: Message) -> Chunk:
    """The chunk in ``message``. Raises ``WireError`` if a device could not read it."""
    query = message.options_of(Option.URI_QUERY)
    if len(message.token) != 1 or not query or len(query[0]) != 4:
        raise WireError(
            "chunk",
            expected="a 1-byte token and a 4-byte CRC-32",
            found=f"{len(message.token)}-byte token, {query!r}",
        )
    if len(query) > 1 and len(query[1]) != 2:
        raise WireError("chunk index", expected="2 bytes", found=query[1].hex())
    index = int.from_bytes(query[1], "big") if len(query) > 1 else None
    return Chunk(int.from_bytes(query[0], "big"), index, message.payload)


def chunk_received(mid: int, token: bytes, *, intact: bool, confirmable: bool) -> Message:
    """The device's answer to one chunk outside fast mode."""
    return Message(_type(confirmable), Code.CHANGED if intact else Code.BAD_REQUEST, mid, token)


def update_done(mid: int, token: bytes) -> Message:
    """All chunks have been sent."""
    return Message(Type.CON, Code.PUT, mid, one_byte_token(token), (_PATH_UPDATE,))


def chunk_missed(mid: int, indices: list[int], *, confirmable: bool) -> Message:
    """The device asks for chunks that did not arrive."""
    payload = b"".join(index.to_bytes(2, "big") for index in indices)
    return Message(_type(confirmable), Code.GET, mid, options=(_PATH_CHUNK,), payload=payload)


def parse_chunk_missed(message: Message) -> list[int]:
    """The indices a ChunkMissed asks for. Raises ``WireError`` for half an index."""
    if len(message.payload) % 2:
        raise WireError(
            "ChunkMissed payload", expected="2 bytes per chunk", found=f"{len(message.payload)} bytes"
        )
    return [index for (index,) in struct.iter_unpack(">H", message.payload)]


def _type(confirmable: bool) -> Type:
    return Type.CON if confirmable else Type.NON
