"""Function calls and variable requests (protocol fact sheet 3.6)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from hil.errors import UsageError, WireError
from hil.wire.coap.message import Code, Message, Option, Type, code_text
from hil.wire.messages.path import named_request, one_byte_token, path_options, require_name

_INT = struct.Struct(">i")
_DOUBLE = struct.Struct("<d")


class VariableType(IntEnum):
    """Type numbers of the application Describe. A value on the wire does not carry its type."""

    BOOL = 1
    INT = 2
    STRING = 4
    DOUBLE = 9

    @property
    def wire_name(self) -> str:
        """The name the cloud API uses."""
        return _WIRE_NAMES[self]


_WIRE_NAMES = {
    VariableType.BOOL: "bool",
    VariableType.INT: "int32",
    VariableType.STRING: "string",
    VariableType.DOUBLE: "double",
}


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """A call as the device gets it; ``token`` goes into the result."""

    name: str
    argument: bytes
    token: bytes


@dataclass(frozen=True, slots=True)
class VariableRequest:
    """A request for a variable as the device gets it; ``token`` goes into the result."""

    name: str
    token: bytes


def function_call(mid: int, token: bytes, name: str, argument: bytes) -> Message:
    """``POST /f/name?argument``; the query is there even when the argument is empty."""
    options = (*path_options("f", name), (Option.URI_QUERY, argument))
    return Message(Type.CON, Code.POST, mid, one_byte_token(token), options)


def parse_function_call(message: Message) -> FunctionCall:
    """The call in ``message``. Raises ``WireError``, for a missing argument option too."""
    _, name = named_request(message, Code.POST, "f")
    argument = message.option(Option.URI_QUERY)
    if argument is None:
        raise WireError("function call without an argument option", expected="Uri-Query, empty or not")
    return FunctionCall(require_name(name, "function call"), argument, message.token)


def function_result(mid: int, token: bytes, value: int, *, confirmable: bool) -> Message:
    """The device's 2.04 with the int32 ``value``. Raises ``UsageError`` when it does not fit."""
    if not -(1 << 31) <= value < 1 << 31:
        raise UsageError("function result", expected="a 32-bit signed integer", found=str(value))
    type_ = Type.CON if confirmable else Type.NON
    return Message(type_, Code.CHANGED, mid, token, payload=_INT.pack(value))


def decode_function_result(message: Message) -> int:
    """The value in a 2.04 response to a function call. Raises ``WireError``, for error codes too."""
    if message.code != Code.CHANGED or len(message.payload) != 4:
        raise WireError(
            "function result",
            expected="2.04 with 4 bytes",
            found=f"{code_text(message.code)} with {len(message.payload)} bytes",
        )
    return int.from_bytes(message.payload, "big", signed=True)


def variable_request(mid: int, token: bytes, name: str) -> Message:
    """``GET /v/name``."""
    return Message(Type.CON, Code.GET, mid, one_byte_token(token), path_options("v", name))


def parse_variable_request(message: Message) -> VariableRequest:
    """The request in ``message``. Raises ``WireError``."""
    _, name = named_request(message, Code.GET, "v")
    return VariableRequest(require_name(name, "variable request"), message.token)


def variable_result(mid: int, token: bytes, value: bytes, *, confirmable: bool) -> Message:
    """The device's 2.05 with an encoded ``value`` (see ``encode_variable``)."""
    return Message(Type.CON if confirmable else Type.NON, Code.CONTENT, mid, token, payload=value)


def encode_variable(type_: VariableType, value: bool | int | str | float) -> bytes:
    """The bytes of a variable: bool 1, int 4 big-endian, double 8 **little-endian**, string UTF-8.

    An unsigned 32-bit value is sent as its bits. Raises ``UsageError`` when ``value`` does not fit ``type_``.
    """
    if type_ is VariableType.BOOL:
        return bytes((bool(value),))
    if type_ is VariableType.STRING and isinstance(value, str):
        return value.encode()
    if type_ is VariableType.DOUBLE and not isinstance(value, str):
        return _DOUBLE.pack(value)
    if type_ is VariableType.INT and isinstance(value, int) and -(1 << 31) <= value < 1 << 32:
        return (value & 0xFFFF_FFFF).to_bytes(4, "big")
    raise UsageError("variable value", expected=type_.wire_name, found=repr(value))


def decode_variable(type_: VariableType, data: bytes) -> bool | int | str | float:
    """The value in ``data``. Raises ``WireError`` when the length is wrong.

    A string that is not UTF-8 (a device may cut one inside a character) keeps what can be read.
    """
    if type_ is VariableType.STRING:
        return data.decode(errors="replace")
    expected = {VariableType.BOOL: 1, VariableType.INT: 4, VariableType.DOUBLE: 8}[type_]
    if len(data) != expected:
        raise WireError(
            f"{type_.wire_name} variable", expected=f"{expected} bytes", found=data[:16].hex() or "none"
        )
    if type_ is VariableType.BOOL:
        return data != b"\0"
    if type_ is VariableType.INT:
        return int.from_bytes(data, "big", signed=True)
    value: float = _DOUBLE.unpack(data)[0]
    return value
