"""CoAP messages: the shape, the codec, the numbers the Device Cloud protocol uses.

The codec follows RFC 7252 sections 3 and 5.10; codes, options and the device's habits (integers of 1, 2 or
always 4 bytes) are those of protocol fact sheet 3 and 4.2. Decoding is on the path of every packet, so it is
one plain loop.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from hil.errors import UsageError, WireError


class Type(IntEnum):
    """The two bits that say how a message is confirmed."""

    CON = 0
    NON = 1
    ACK = 2
    RST = 3


class Code(IntEnum):
    """Request methods (class 0) and response codes (class 2, 4, 5)."""

    EMPTY = 0x00
    GET = 0x01
    POST = 0x02
    PUT = 0x03
    DELETE = 0x04
    CREATED = 0x41
    DELETED = 0x42
    VALID = 0x43
    CHANGED = 0x44
    CONTENT = 0x45
    CONTINUE = 0x5F
    BAD_REQUEST = 0x80
    UNAUTHORIZED = 0x81
    BAD_OPTION = 0x82
    FORBIDDEN = 0x83
    NOT_FOUND = 0x84
    METHOD_NOT_ALLOWED = 0x85
    NOT_ACCEPTABLE = 0x86
    REQUEST_ENTITY_INCOMPLETE = 0x88
    PRECONDITION_FAILED = 0x8C
    REQUEST_ENTITY_TOO_LARGE = 0x8D
    UNSUPPORTED_CONTENT_FORMAT = 0x8F
    INTERNAL_SERVER_ERROR = 0xA0
    NOT_IMPLEMENTED = 0xA1
    BAD_GATEWAY = 0xA2
    SERVICE_UNAVAILABLE = 0xA3
    GATEWAY_TIMEOUT = 0xA4


class Option(IntEnum):
    """Option numbers; those from 2049 on are private to OTA protocol V3 (protocol fact sheet 4.2)."""

    ETAG = 4
    URI_PATH = 11
    CONTENT_FORMAT = 12
    MAX_AGE = 14
    URI_QUERY = 15
    BLOCK2 = 23
    BLOCK1 = 27
    NO_RESPONSE = 258
    REQUEST_TAG = 292
    CHUNK_INDEX = 2049
    WINDOW_SIZE = 2053
    FILE_SIZE = 2057
    FILE_SHA_256 = 2061
    CHUNK_SIZE = 2065
    DISCARD_DATA = 2069
    CANCEL_UPDATE = 2073
    MODULE_FUNCTION = 2077


class ContentFormat(IntEnum):
    """Values of the Content-Format option (protocol fact sheet 3.3, 3.4).

    Structured event data is 65001 on its way from a device and 60 on its way to one.
    """

    TEXT = 0
    LINK_FORMAT = 40
    XML = 41
    OCTET_STREAM = 42
    JSON = 50
    CBOR = 60
    JPEG = 22
    PNG = 23
    STRUCTURED = 65001


MAX_TOKEN = 8
_HEADER = struct.Struct(">BBH")
_PAYLOAD_MARKER = 0xFF
_LARGEST_EXTENDED = 269 + 0xFFFF


@dataclass(frozen=True, slots=True)
class Message:
    """One CoAP message.

    ``options`` are ``(number, value)`` pairs; pairs of one number keep their order, and ``encode`` sorts the
    rest. ``code`` is a plain integer because a peer may send codes that ``Code`` does not name.
    """

    type: Type
    code: int
    mid: int
    token: bytes = b""
    options: tuple[tuple[int, bytes], ...] = ()
    payload: bytes = b""

    def option(self, number: int) -> bytes | None:
        """The first value of option ``number``, ``None`` when it is absent (an empty option is ``b""``)."""
        for found, value in self.options:
            if found == number:
                return value
        return None

    def options_of(self, number: int) -> list[bytes]:
        """All values of option ``number``, in order."""
        return [value for found, value in self.options if found == number]

    def uint(self, number: int) -> int | None:
        """Option ``number`` as an unsigned integer; leading zero bytes are fine.

        Raises ``WireError`` when the value is longer than 4 bytes.
        """
        value = self.option(number)
        if value is None:
            return None
        if len(value) > 4:
            raise WireError(f"CoAP option {number} is too long", expected="0 to 4 bytes", found=value.hex())
        return int.from_bytes(value, "big")

    @property
    def path(self) -> tuple[str, ...]:
        """The Uri-Path options as text, one entry each.

        A device puts a whole event name, slashes and all, into one option: join what follows the first entry
        with ``/``. Raises ``WireError`` when an option is not UTF-8.
        """
        try:
            return tuple(value.decode() for value in self.options_of(Option.URI_PATH))
        except UnicodeDecodeError as error:
            raise WireError("Uri-Path is not UTF-8", found=error.object.hex()) from error

    @property
    def is_request(self) -> bool:
        return 0 < self.code < 0x20

    @property
    def is_response(self) -> bool:
        return self.code >= 0x40

    @property
    def is_empty(self) -> bool:
        return self.code == Code.EMPTY


@dataclass(frozen=True, slots=True)
class Block:
    """A Block1 or Block2 option (RFC 7959): block ``number``, whether ``more`` follow, size 2**(szx + 4)."""

    number: int
    more: bool
    szx: int

    @property
    def size(self) -> int:
        """Block size in bytes."""
        return 1 << (self.szx + 4)

    def encode(self) -> bytes:
        """The option's value, in the device's form."""
        return encode_uint_device(self.number << 4 | self.more << 3 | self.szx)

    @classmethod
    def decode(cls, value: bytes) -> Block:
        """The block an option value stands for. Raises ``WireError``."""
        if len(value) > 4:
            raise WireError("Block option is too long", expected="0 to 4 bytes", found=value.hex())
        number = int.from_bytes(value, "big")
        if number & 7 == 7:
            raise WireError("Block option has the reserved size 7", found=value.hex())
        return cls(number >> 4, bool(number & 8), number & 7)


def encode_uint(value: int) -> bytes:
    """``value`` in as few bytes as it takes; 0 takes none."""
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def encode_uint_device(value: int) -> bytes:
    """``value`` as a device writes it: 0, 1, 2 or always 4 bytes (protocol fact sheet 3)."""
    return value.to_bytes(4, "big") if value > 0xFFFF else encode_uint(value)


def code_text(code: int) -> str:
    """A code as people write it: ``0x45`` is ``2.05``."""
    return f"{code >> 5}.{code & 0x1F:02}"


def encode(message: Message) -> bytes:
    """The bytes of ``message``. Raises ``UsageError`` for a field that does not fit."""
    token = message.token
    if len(token) > MAX_TOKEN or not 0 <= message.mid <= 0xFFFF or not 0 <= message.code <= 0xFF:
        raise UsageError(
            "CoAP message cannot be encoded",
            expected="token of at most 8 bytes, 16-bit id, 8-bit code",
            found=repr(message),
        )
    out = bytearray(_HEADER.pack(0x40 | message.type << 4 | len(token), message.code, message.mid))
    out += token
    previous = 0
    for number, value in sorted(message.options, key=_option_number):
        _append_option(out, number - previous, value)
        previous = number
    if message.payload:
        out.append(_PAYLOAD_MARKER)
        out += message.payload
    return bytes(out)


def _option_number(option: tuple[int, bytes]) -> int:
    return option[0]


def _append_option(out: bytearray, delta: int, value: bytes) -> None:
    length = len(value)
    if delta < 13 and length < 13:
        out.append(delta << 4 | length)
    else:
        delta_nibble, delta_extra = _split(delta)
        length_nibble, length_extra = _split(length)
        out.append(delta_nibble << 4 | length_nibble)
        out += delta_extra + length_extra
    out += value


def _split(value: int) -> tuple[int, bytes]:
    """The nibble and the extended bytes of an option delta or length."""
    if not 0 <= value <= _LARGEST_EXTENDED:
        raise UsageError(
            "CoAP option cannot be encoded", expected=f"0..{_LARGEST_EXTENDED}", found=str(value)
        )
    if value < 13:
        return value, b""
    if value < 269:
        return 13, bytes((value - 13,))
    return 14, (value - 269).to_bytes(2, "big")


def decode(data: bytes) -> Message:
    """The message in ``data``. Raises ``WireError``.

    A payload marker with nothing behind it is taken as "no payload": devices may write it for empty event
    data. Everything else that RFC 7252 calls a format error is refused.
    """
    end = len(data)
    if end < 4:
        raise WireError(
            "CoAP message is too short", expected="at least 4 bytes", found=data.hex() or "nothing"
        )
    first, code, mid = _HEADER.unpack_from(data)
    token_length = first & 0x0F
    if first >> 6 != 1 or token_length > MAX_TOKEN:
        raise WireError(
            "not a CoAP message", expected="version 1, token of 0 to 8 bytes", found=data[:4].hex()
        )
    if code == 0 and end > 4:
        raise WireError("empty CoAP message with something behind it", found=data[:32].hex())
    position = 4 + token_length
    if end < position:
        raise WireError("CoAP message ends inside its token", found=data.hex())
    draft = _Draft()
    draft.type = _TYPES[first >> 4 & 3]
    draft.code = code
    draft.mid = mid
    draft.token = data[4:position]
    draft.options, position = _decode_options(data, position, end)
    draft.payload = data[position:]
    draft.__class__ = Message  # type: ignore[assignment]  # allowed between classes with the same slots
    return draft  # type: ignore[return-value]


_TYPES = (Type.CON, Type.NON, Type.ACK, Type.RST)


class _Draft:
    """A ``Message`` while ``decode`` fills it in; it has the same slots and becomes one by its class alone.

    The constructor of a frozen dataclass sets each field by a call of ``object.__setattr__``, which was a third
    of decoding; here they are plain assignments. Nobody but ``decode`` ever sees a draft.
    """

    __slots__ = Message.__slots__
    type: Type
    code: int
    mid: int
    token: bytes
    options: tuple[tuple[int, bytes], ...]
    payload: bytes


def _decode_options(data: bytes, position: int, end: int) -> tuple[tuple[tuple[int, bytes], ...], int]:
    """The options from ``position`` on, and where the payload starts; ``end`` is the length of ``data``.

    One-byte lengths, common in names, are read in place: a call for each shows in ``benchmarks.codec``. The payload
    marker is looked for only where its upper nibble, 15, can be.
    """
    options: list[tuple[int, bytes]] = []
    number = 0
    while position < end:
        head = data[position]
        position += 1
        delta = head >> 4
        length = head & 0x0F
        if delta > 12:
            if head == _PAYLOAD_MARKER:
                break
            delta, position = _extended(data, position, delta)
        if length == 13 and position < end:
            length = 13 + data[position]
            position += 1
        elif length > 12:
            length, position = _extended(data, position, length)
        number += delta
        stop = position + length
        if stop > end:
            raise WireError(f"CoAP option {number} runs past the end", found=data[:64].hex())
        options.append((number, data[position:stop]))
        position = stop
    return tuple(options), position


def _extended(data: bytes, position: int, nibble: int) -> tuple[int, int]:
    """The value behind nibble 13 or 14, and the position after it."""
    width = nibble - 12
    if nibble == 15 or position + width > len(data):
        raise WireError("CoAP option header is broken", found=data[:64].hex())
    return int.from_bytes(data[position : position + width], "big") + (
        13 if width == 1 else 269
    ), position + width


def empty_ack(mid: int) -> Message:
    """The acknowledgement of message ``mid`` without a response."""
    return Message(Type.ACK, Code.EMPTY, mid)


def reset(mid: int) -> Message:
    """RST for ``mid``. A device that gets one throws its DTLS session away (protocol fact sheet 2.8)."""
    return Message(Type.RST, Code.EMPTY, mid)


def ping(mid: int) -> Message:
    """An empty CON message; the peer answers with an empty ACK."""
    return Message(Type.CON, Code.EMPTY, mid)
