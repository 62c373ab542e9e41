"""The protobuf wire format, as much of it as Device OS uses: varints, fixed 32 and 64 bits, length-delimited.

Messages are written field by field and read as a table of fields; there is no schema. Device OS leaves out
fields that are zero, so does the writer unless told otherwise (protocol fact sheet 3.3, 11.4). ``Goodbye``
messages borrow the varint (protocol fact sheet 3.9).
"""

from __future__ import annotations

from typing import Final

from hil.errors import UsageError, WireError

VARINT: Final = 0
FIXED64: Final = 1
LENGTH_DELIMITED: Final = 2
FIXED32: Final = 5

Field = tuple[int, int, int | bytes]

_MASK64 = 0xFFFF_FFFF_FFFF_FFFF
_LARGEST_FIELD = (1 << 29) - 1


def encode_varint(value: int) -> bytes:
    """``value`` (0..2**64-1) as a little-endian base-128 varint. Raises ``UsageError``."""
    if not 0 <= value <= _MASK64:
        raise UsageError("varint out of range", expected="0..2**64-1", found=str(value))
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def decode_varint(data: bytes, position: int) -> tuple[int, int]:
    """The varint at ``position`` and the position behind it; bits above the 64th are dropped.

    Raises ``WireError`` when the data ends inside it or it is longer than 10 bytes.
    """
    value = 0
    for count, byte in enumerate(data[position : position + 10]):
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return value & _MASK64, position + count + 1
    raise WireError("broken varint", found=data[position : position + 10].hex() or "end of data")


class Writer:
    """Builds one message; each method appends a field and returns the writer.

    A zero or empty value is left out unless ``always`` is set (for fields whose presence has a meaning).
    """

    def __init__(self) -> None:
        self._out = bytearray()

    def uint(self, field: int, value: int, *, always: bool = False) -> Writer:
        """An unsigned integer, enum or bool."""
        return self._append(field, VARINT, encode_varint(value)) if value or always else self

    def signed(self, field: int, value: int, *, always: bool = False) -> Writer:
        """A signed integer of type ``int32`` or ``int64``: a negative one takes 10 bytes."""
        return self.uint(field, value & _MASK64, always=always)

    def zigzag(self, field: int, value: int, *, always: bool = False) -> Writer:
        """A signed integer of type ``sint32`` or ``sint64`` (zigzag)."""
        return self.uint(field, value << 1 if value >= 0 else ~(value << 1), always=always)

    def fixed32(self, field: int, value: int, *, always: bool = False) -> Writer:
        if not value and not always:
            return self
        return self._append(field, FIXED32, (value & 0xFFFF_FFFF).to_bytes(4, "little"))

    def fixed64(self, field: int, value: int, *, always: bool = False) -> Writer:
        if not value and not always:
            return self
        return self._append(field, FIXED64, (value & _MASK64).to_bytes(8, "little"))

    def data(self, field: int, value: bytes, *, always: bool = False) -> Writer:
        """A field of type ``bytes``."""
        if not value and not always:
            return self
        return self._append(field, LENGTH_DELIMITED, encode_varint(len(value)) + value)

    def text(self, field: int, value: str, *, always: bool = False) -> Writer:
        """A field of type ``string``."""
        return self.data(field, value.encode(), always=always)

    def message(self, field: int, value: Writer | bytes) -> Writer:
        """A nested message; written even when it is empty."""
        return self.data(field, value.finish() if isinstance(value, Writer) else value, always=True)

    def finish(self) -> bytes:
        """The message so far."""
        return bytes(self._out)

    def _append(self, field: int, wire_type: int, value: bytes) -> Writer:
        if not 1 <= field <= _LARGEST_FIELD:
            raise UsageError("no such protobuf field", expected=f"1..{_LARGEST_FIELD}", found=str(field))
        self._out += encode_varint(field << 3 | wire_type) + value
        return self


def decode(data: bytes) -> list[Field]:
    """The fields of a message in order, as ``(field, wire type, value)``.

    Values are unsigned integers, or bytes for length-delimited fields. Raises ``WireError`` on anything that
    is not a message, groups included.
    """
    fields: list[Field] = []
    position = 0
    while position < len(data):
        key, position = decode_varint(data, position)
        field, wire_type = key >> 3, key & 7
        if not 1 <= field <= _LARGEST_FIELD:
            raise WireError("not a protobuf message", expected="a field number", found=str(field))
        value, position = _decode_value(data, position, wire_type)
        fields.append((field, wire_type, value))
    return fields


def _decode_value(data: bytes, position: int, wire_type: int) -> tuple[int | bytes, int]:
    if wire_type == VARINT:
        return decode_varint(data, position)
    if wire_type == LENGTH_DELIMITED:
        length, position = decode_varint(data, position)
    elif wire_type in (FIXED32, FIXED64):
        length = 4 if wire_type == FIXED32 else 8
    else:
        raise WireError("not a protobuf message", expected="wire type 0, 1, 2 or 5", found=str(wire_type))
    end = position + length
    if end > len(data):
        raise WireError("protobuf field runs past the end", found=f"{length} bytes announced")
    value = data[position:end]
    return (value if wire_type == LENGTH_DELIMITED else int.from_bytes(value, "little")), end


class Fields:
    """A decoded message, read by field number.

    A field that occurs more than once counts with its last value, as protobuf wants. Every reader raises
    ``WireError`` when the field has another wire type than asked for.
    """

    def __init__(self, data: bytes) -> None:
        self._values: dict[int, list[tuple[int, int | bytes]]] = {}
        for field, wire_type, value in decode(data):
            self._values.setdefault(field, []).append((wire_type, value))

    def __contains__(self, field: int) -> bool:
        return field in self._values

    def uint(self, field: int, default: int = 0) -> int:
        """A varint or fixed-width field as an unsigned integer."""
        for wire_type, value in reversed(self._values.get(field, [])):
            if isinstance(value, bytes):
                raise _wrong_type(field, wire_type, "an integer")
            return value
        return default

    def signed(self, field: int, default: int = 0) -> int:
        """An ``int32`` or ``int64`` field."""
        if field not in self:
            return default
        value = self.uint(field)
        return value - (1 << 64) if value >> 63 else value

    def zigzag(self, field: int, default: int = 0) -> int:
        """A ``sint32`` or ``sint64`` field (zigzag)."""
        if field not in self:
            return default
        value = self.uint(field)
        return value >> 1 ^ -(value & 1)

    def data(self, field: int, default: bytes = b"") -> bytes:
        """A field of type ``bytes``, or a nested message."""
        found = self.all(field)
        return found[-1] if found else default

    def text(self, field: int, default: str = "") -> str:
        """A field of type ``string``."""
        if field not in self:
            return default
        try:
            return self.data(field).decode()
        except UnicodeDecodeError as error:
            raise WireError(f"protobuf field {field} is not UTF-8", found=error.object.hex()) from error

    def all(self, field: int) -> list[bytes]:
        """Every value of a repeated field of bytes, strings or messages."""
        found: list[bytes] = []
        for wire_type, value in self._values.get(field, []):
            if not isinstance(value, bytes):
                raise _wrong_type(field, wire_type, "bytes")
            found.append(value)
        return found


def _wrong_type(field: int, wire_type: int, expected: str) -> WireError:
    return WireError(f"protobuf field {field}", expected=expected, found=f"wire type {wire_type}")
