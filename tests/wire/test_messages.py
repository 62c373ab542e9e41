"""Every worked CoAP example of protocol fact sheet 8.6, written and read; classification; garbage."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.errors import WireError
from hil.wire import messages
from hil.wire.coap import message as coap
from hil.wire.coap.message import Block, Code, ContentFormat, Message, Option, Type
from hil.wire.messages import (
    CloudReason,
    DescribeFlag,
    DescribePost,
    Event,
    FunctionCall,
    Goodbye,
    Kind,
    Subscription,
    VariableRequest,
)

DEVICE = "3d0034000747343337373738"
APPLICATION_JSON = bytes.fromhex("7b2266223a5b226c6564225d2c2276223a7b2274656d70223a397d7d")
CBOR = bytes.fromhex("a16174182a")
WEATHER = "50027654b1650d0c" + b"weather/us/mn/minneapolis".hex() + "33000e10ff" + b"t:5F,d:-2F,p:15%".hex()


class Example(NamedTuple):
    """Bytes on the wire, the message that gives them, what they are, and what a parser finds in them."""

    wire: str
    message: Message
    kind: Kind
    parse: Callable[[Message], object] | None = None
    content: object = None


EVENTS = [
    Example(
        "5002f649b1650178",
        messages.event(0xF649, "x", confirmable=False, private=False),
        Kind.EVENT,
        messages.parse_event,
        Event("x", b"", False, 60, None, False),
    ),
    Example(
        "5002f649b1450d0666726f6e742d646f6f722d756e6c6f636b6564",
        messages.event(0xF649, "front-door-unlocked", confirmable=False),
        Kind.EVENT,
        messages.parse_event,
        Event("front-door-unlocked", b"", True, 60, None, False),
    ),
    Example(
        WEATHER,
        messages.event(
            0x7654,
            "weather/us/mn/minneapolis",
            b"t:5F,d:-2F,p:15%",
            confirmable=False,
            private=False,
            ttl=3600,
            old_max_age=True,
        ),
        Kind.EVENT,
        messages.parse_event,
        Event("weather/us/mn/minneapolis", b"t:5F,d:-2F,p:15%", False, 3600, None, False),
    ),
    Example(
        "40022008b1450873656e736f722f6112fde9ffa16174182a",
        messages.event(0x2008, "sensor/a", CBOR, confirmable=True, content_format=ContentFormat.STRUCTURED),
        Kind.EVENT,
        messages.parse_event,
        Event("sensor/a", CBOR, True, 60, 65001, True),
    ),
    Example(
        "40022008b1450873656e736f722f61113cffa16174182a",
        messages.event(0x2008, "sensor/a", CBOR, confirmable=True, content_format=ContentFormat.CBOR),
        Kind.EVENT,
        messages.parse_event,
        Event("sensor/a", CBOR, True, 60, 60, True),
    ),
    Example(
        "40011113b1650b6d6f74696f6e2f6f70656e4175",
        messages.subscribe(0x1113, "motion/open"),
        Kind.SUBSCRIBE,
        messages.parse_subscription,
        Subscription("motion/open", None, frozenset("u")),
    ),
    Example(
        "40018888b1650777656174686572ff" + DEVICE.encode().hex(),
        messages.subscribe(0x8888, "weather", device_filter=DEVICE),
        Kind.SUBSCRIBE,
        messages.parse_subscription,
        Subscription("weather", DEVICE, frozenset()),
    ),
    Example(
        "40012009b16503636d644163",
        messages.subscribe(0x2009, "cmd", query=b"c"),
        Kind.SUBSCRIBE,
        messages.parse_subscription,
        Subscription("cmd", None, frozenset("c")),
    ),
]
CALLS = [
    Example(
        "4102100565b166036c6564426f6e",
        messages.function_call(0x1005, b"e", "led", b"on"),
        Kind.FUNCTION,
        messages.parse_function_call,
        FunctionCall("led", b"on", b"e"),
    ),
    Example(
        "4102100565b166036c656440",
        messages.function_call(0x1005, b"e", "led", b""),
        Kind.FUNCTION,
        messages.parse_function_call,
        FunctionCall("led", b"", b"e"),
    ),
    Example(
        "4144200565ffffffffff",
        messages.function_result(0x2005, b"e", -1, confirmable=True),
        Kind.RESPONSE,
        messages.decode_function_result,
        -1,
    ),
    Example(
        "4101100666b1760d0574656d70657261747572655f73656e736f72",
        messages.variable_request(0x1006, b"f", "temperature_sensor"),
        Kind.VARIABLE,
        messages.parse_variable_request,
        VariableRequest("temperature_sensor", b"f"),
    ),
]
SESSION = [
    Example("41012006" + "07" + "b174", messages.time_request(0x2006, b"\x07"), Kind.TIME),
    Example(
        "6145200607ff6553f100",
        messages.time_reply(messages.time_request(0x2006, b"\x07"), 1_700_000_000),
        Kind.RESPONSE,
        messages.parse_time_reply,
        1_700_000_000,
    ),
    Example(
        "4103100767b1734101",
        messages.signal(0x1007, b"g", True),
        Kind.SIGNAL,
        messages.parse_signal,
        True,
    ),
    Example(
        "4103100767b1734100",
        messages.signal(0x1007, b"g", False),
        Kind.SIGNAL,
        messages.parse_signal,
        False,
    ),
    Example("4103100868b16b4101", messages.key_change(0x1008, b"h"), Kind.KEY_CHANGE),
    Example("500277a1b168", messages.server_hello(0x77A1), Kind.HELLO),
    Example(
        "4002200cb178ff03058c01",
        messages.goodbye(0x200C, Goodbye(CloudReason.RESET, 140), confirmable=True),
        Kind.GOODBYE,
        messages.parse_goodbye,
        Goodbye(5, 140),
    ),
    Example(
        "5002200cb178d0eaff0102",
        messages.goodbye(0x200C, Goodbye(CloudReason.USER), confirmable=False),
        Kind.GOODBYE,
        messages.parse_goodbye,
        Goodbye(2),
    ),
]
DESCRIBE = [
    Example(
        "4101100464b1644101",
        messages.describe_request(0x1004, b"d", DescribeFlag.SYSTEM),
        Kind.DESCRIBE,
        messages.parse_describe_request,
        DescribeFlag.SYSTEM,
    ),
    Example(
        "4102200a09b1644102ff" + APPLICATION_JSON.hex(),
        messages.describe_post(0x200A, b"\x09", 2, APPLICATION_JSON),
        Kind.DESCRIBE,
        messages.parse_describe_post,
        DescribePost(DescribeFlag.APPLICATION, APPLICATION_JSON, None, None),
    ),
    Example(
        "4102200b0ab164112a3101ff0a17",
        messages.describe_post(0x200B, b"\x0a", 1, b"\x0a\x17", ContentFormat.OCTET_STREAM),
        Kind.DESCRIBE,
        messages.parse_describe_post,
        DescribePost(DescribeFlag.SYSTEM, b"\x0a\x17", 42, None),
    ),
    Example(
        "4102200b0ab164112a3101c10eff0a17",
        messages.describe_post(0x200B, b"\x0a", 1, b"\x0a\x17", 42, Block(0, True, 6)),
        Kind.DESCRIBE,
        messages.parse_describe_post,
        DescribePost(DescribeFlag.SYSTEM, b"\x0a\x17", 42, Block(0, True, 6)),
    ),
]


@pytest.mark.parametrize(
    "example", EVENTS + CALLS + SESSION + DESCRIBE, ids=lambda example: example.wire[:40]
)
def test_worked_examples(example: Example) -> None:
    assert coap.encode(example.message).hex() == example.wire
    received = coap.decode(bytes.fromhex(example.wire))
    assert received == example.message
    assert messages.classify(received) is example.kind
    if example.parse:
        assert example.parse(received) == example.content


def test_the_weather_event_has_the_size_of_the_unit_test_it_comes_from() -> None:
    assert len(WEATHER) == 2 * 54


@pytest.mark.parametrize(
    ("wire", "kind"),
    [
        ("4102100061b175ff010200000003e80000000000", Kind.UPDATE_BEGIN),
        ("4102100061b173ff010200000003e80000000000", Kind.SAVE),
        ("4144200161ff01", Kind.RESPONSE),
        ("4102100162b163441c613576020000ff00", Kind.CHUNK),
        ("4103100363b175", Kind.UPDATE_DONE),
        ("40012001b163ff0001", Kind.CHUNK_MISSED),
        ("4102100061b153e206f103e8", Kind.V3_START),
        ("50021001b143e106e901ff00", Kind.V3_CHUNK),
        ("50022002b141e106e902", Kind.V3_ACK),
        ("4102100362b146", Kind.V3_FINISH),
        ("4102100362b14c", Kind.LEDGER),
        ("4102100362b14d", Kind.SERVER_MOVED),
        ("40020001b168ff0006ffff00360006", Kind.HELLO),
        ("40001234", Kind.PING),
        ("60001234", Kind.ACK),
        ("70001234", Kind.RESET),
        ("50001234", Kind.UNKNOWN),
        ("60801234", Kind.RESPONSE),
        ("60021234b168", Kind.UNKNOWN),
        ("70021234b168", Kind.RESET),
        ("40011234b17a", Kind.UNKNOWN),
        ("40011234", Kind.UNKNOWN),
        ("40041234b165", Kind.UNKNOWN),
    ],
)
def test_classification(wire: str, kind: Kind) -> None:
    assert messages.classify(coap.decode(bytes.fromhex(wire))) is kind


PARSERS: list[Callable[[Message], object]] = [
    messages.parse_event,
    messages.parse_subscription,
    messages.parse_function_call,
    messages.parse_variable_request,
    messages.decode_function_result,
    messages.parse_time_reply,
    messages.parse_signal,
    messages.parse_goodbye,
    messages.parse_describe_request,
    messages.parse_describe_post,
]
RESOURCES = st.sampled_from([bytes((letter,)) for letter in b"hdEefvtskxucSCAFLM"])
OPTIONS = st.tuples(st.sampled_from([int(option) for option in Option]), st.binary(max_size=5))


@given(
    st.sampled_from(Type),
    st.sampled_from([1, 2, 3, Code.CHANGED, Code.CONTENT]),
    st.lists(RESOURCES, max_size=1),
    st.lists(OPTIONS, max_size=5),
    st.binary(max_size=30),
)
def test_parsers_raise_only_wire_errors(
    type_: Type, code: int, resource: list[bytes], options: list[tuple[int, bytes]], payload: bytes
) -> None:
    path = [(int(Option.URI_PATH), value) for value in resource]
    message = Message(type_, code, 1, b"", (*path, *options), payload)
    assert messages.classify(message) in Kind
    for parse in PARSERS:
        try:
            content = parse(message)
        except WireError:
            continue
        assert content is not None
