"""Typed messages between a device and the cloud: what a CoAP message is, and all builders and parsers.

``classify`` follows the index of protocol fact sheet 3.1. Builders return ``coap.Message`` and take the
message id; parsers raise ``WireError``. They live by subject in the ``messages_*`` modules.
"""

from __future__ import annotations

from enum import Enum, auto

from hil.wire.coap.message import Code, Message, Option, Type
from hil.wire.messages.calls import (
    FunctionCall,
    VariableRequest,
    VariableType,
    decode_function_result,
    decode_variable,
    encode_variable,
    function_call,
    function_result,
    parse_function_call,
    parse_variable_request,
    variable_request,
    variable_result,
)
from hil.wire.messages.describe import (
    DescribeFlag,
    DescribePost,
    describe_post,
    describe_reply,
    describe_request,
    parse_describe_post,
    parse_describe_request,
)
from hil.wire.messages.events import (
    DEFAULT_TTL,
    MAX_TTL,
    Event,
    Subscription,
    event,
    parse_event,
    parse_subscription,
    subscribe,
)
from hil.wire.messages.session import (
    LAST_SECOND,
    CloudReason,
    Goodbye,
    NetworkReason,
    goodbye,
    key_change,
    parse_goodbye,
    parse_signal,
    parse_time_reply,
    server_hello,
    signal,
    time_reply,
    time_request,
)
from hil.wire.messages.vitals import Vital, VitalId, decode_vitals, encode_vitals

__all__ = [
    "DEFAULT_TTL",
    "LAST_SECOND",
    "MAX_TTL",
    "CloudReason",
    "DescribeFlag",
    "DescribePost",
    "Event",
    "FunctionCall",
    "Goodbye",
    "Kind",
    "NetworkReason",
    "Subscription",
    "VariableRequest",
    "VariableType",
    "Vital",
    "VitalId",
    "classify",
    "decode_function_result",
    "decode_variable",
    "decode_vitals",
    "describe_post",
    "describe_reply",
    "describe_request",
    "encode_variable",
    "encode_vitals",
    "event",
    "function_call",
    "function_result",
    "goodbye",
    "key_change",
    "parse_describe_post",
    "parse_describe_request",
    "parse_event",
    "parse_function_call",
    "parse_goodbye",
    "parse_signal",
    "parse_subscription",
    "parse_time_reply",
    "parse_variable_request",
    "server_hello",
    "signal",
    "subscribe",
    "time_reply",
    "time_request",
    "variable_request",
    "variable_result",
]


class Kind(Enum):
    """What a message is, whichever side sent it."""

    HELLO = auto()
    DESCRIBE = auto()
    EVENT = auto()
    SUBSCRIBE = auto()
    FUNCTION = auto()
    VARIABLE = auto()
    TIME = auto()
    PING = auto()
    SIGNAL = auto()
    KEY_CHANGE = auto()
    GOODBYE = auto()
    UPDATE_BEGIN = auto()
    UPDATE_DONE = auto()
    CHUNK = auto()
    CHUNK_MISSED = auto()
    SAVE = auto()
    V3_START = auto()
    V3_CHUNK = auto()
    V3_ACK = auto()
    V3_FINISH = auto()
    LEDGER = auto()
    SERVER_MOVED = auto()
    ACK = auto()
    RESET = auto()
    RESPONSE = auto()
    UNKNOWN = auto()


_REQUESTS: dict[tuple[int, bytes | None], Kind] = {
    (Code.POST, b"h"): Kind.HELLO,
    (Code.GET, b"d"): Kind.DESCRIBE,
    (Code.POST, b"d"): Kind.DESCRIBE,
    (Code.POST, b"E"): Kind.EVENT,
    (Code.POST, b"e"): Kind.EVENT,
    (Code.GET, b"E"): Kind.SUBSCRIBE,
    (Code.GET, b"e"): Kind.SUBSCRIBE,
    (Code.POST, b"f"): Kind.FUNCTION,
    (Code.GET, b"v"): Kind.VARIABLE,
    (Code.GET, b"t"): Kind.TIME,
    (Code.PUT, b"s"): Kind.SIGNAL,
    (Code.PUT, b"k"): Kind.KEY_CHANGE,
    (Code.POST, b"x"): Kind.GOODBYE,
    (Code.POST, b"u"): Kind.UPDATE_BEGIN,
    (Code.PUT, b"u"): Kind.UPDATE_DONE,
    (Code.POST, b"c"): Kind.CHUNK,
    (Code.GET, b"c"): Kind.CHUNK_MISSED,
    (Code.POST, b"s"): Kind.SAVE,
    (Code.POST, b"S"): Kind.V3_START,
    (Code.POST, b"C"): Kind.V3_CHUNK,
    (Code.POST, b"A"): Kind.V3_ACK,
    (Code.POST, b"F"): Kind.V3_FINISH,
    (Code.POST, b"L"): Kind.LEDGER,
    (Code.POST, b"M"): Kind.SERVER_MOVED,
}
_EMPTY = {Type.CON: Kind.PING, Type.ACK: Kind.ACK, Type.RST: Kind.RESET}


def classify(message: Message) -> Kind:
    """What ``message`` is. Never raises; ``UNKNOWN`` for what the protocol does not name.

    ``ACK`` is an empty acknowledgement; one that carries a response code is a ``RESPONSE``.
    """
    code = message.code
    if code == Code.EMPTY:
        return _EMPTY.get(message.type, Kind.UNKNOWN)
    if message.type is Type.RST:
        return Kind.RESET
    if code >= 0x40:
        return Kind.RESPONSE
    if message.type is Type.ACK:
        return Kind.UNKNOWN
    return _REQUESTS.get((code, message.option(Option.URI_PATH)), Kind.UNKNOWN)
