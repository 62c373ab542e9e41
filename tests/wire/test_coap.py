"""The CoAP codec: worked examples, agreement with aiocoap, behaviour on garbage."""

from __future__ import annotations

from dataclasses import replace

import aiocoap
import aiocoap.numbers
import pytest
from aiocoap.options import Options
from aiocoap.optiontypes import OpaqueOption
from hypothesis import example, given
from hypothesis import strategies as st

from hil.errors import UsageError, WireError
from hil.wire.coap import message as coap
from hil.wire.coap.message import Block, Code, Message, Option, Type

# Numbers whose values aiocoap takes as opaque bytes (it wants UTF-8 in Uri-Path and Uri-Query).
OPTION_NUMBERS = st.one_of(
    st.sampled_from([4, 292, 2049, 2061]), st.integers(3000, 0xFFFF), st.integers(64, 250)
)
OPTION_VALUES = st.one_of(
    st.binary(max_size=20), st.sampled_from([12, 13, 14, 268, 269, 270, 700]).map(bytes)
)


@st.composite
def messages(draw: st.DrawFn) -> Message:
    options = draw(st.lists(st.tuples(st.integers(0, 0xFFFF), OPTION_VALUES), max_size=6))
    return Message(
        draw(st.sampled_from(Type)),
        draw(st.integers(1, 0xFF)),
        draw(st.integers(0, 0xFFFF)),
        draw(st.binary(max_size=8)),
        tuple(sorted(options, key=lambda option: option[0])),
        draw(st.binary(max_size=64)),
    )


@given(messages())
def test_what_is_encoded_is_decoded(message: Message) -> None:
    assert coap.decode(coap.encode(message)) == message


@given(st.binary(max_size=80))
@example(b"")
@example(bytes.fromhex("40010001f0"))
@example(bytes.fromhex("400100010f"))
def test_garbage_raises_only_wire_errors(data: bytes) -> None:
    try:
        message = coap.decode(data)
    except WireError:
        return
    # What was accepted means the same when written again, whatever forms the sender chose.
    assert coap.decode(coap.encode(message)) == message


def oracle_encode(message: Message) -> bytes:
    other = aiocoap.Message(
        _mtype=aiocoap.numbers.Type(int(message.type)), _mid=message.mid, _token=message.token
    )
    other.code = aiocoap.numbers.Code(message.code)
    for number, value in message.options:
        other.opt.add_option(oracle_option(number, value))
    other.payload = message.payload
    return bytes(other.encode())


def oracle_option(number: int, value: bytes) -> object:
    return OpaqueOption(aiocoap.numbers.OptionNumber(number), value)


@given(
    st.sampled_from([Code.GET, Code.POST, Code.PUT, Code.CHANGED, Code.CONTENT, Code.BAD_REQUEST]),
    st.sampled_from([Type.CON, Type.NON, Type.ACK]),
    st.integers(0, 0xFFFF),
    st.binary(max_size=8),
    st.lists(st.tuples(OPTION_NUMBERS, OPTION_VALUES), max_size=6),
    st.binary(max_size=100),
)
def test_bytes_are_those_of_aiocoap(
    code: Code, type_: Type, mid: int, token: bytes, options: list[tuple[int, bytes]], payload: bytes
) -> None:
    message = Message(type_, code, mid, token, tuple(options), payload)
    assert coap.encode(message) == oracle_encode(message)


@given(st.lists(st.tuples(OPTION_NUMBERS, OPTION_VALUES), max_size=6), st.binary(max_size=100))
def test_options_and_payload_are_read_as_aiocoap_reads_them(
    options: list[tuple[int, bytes]], payload: bytes
) -> None:
    wire = coap.encode(Message(Type.CON, Code.POST, 1, b"", tuple(options), payload))[4:]
    theirs = Options()
    rest = theirs.decode(wire)
    ours = coap.decode(bytes.fromhex("40020001") + wire)
    assert [(int(option.number), option.encode()) for option in theirs.option_list()] == list(ours.options)
    assert rest == ours.payload


@pytest.mark.parametrize(
    ("wire", "message"),
    [
        ("40001234", coap.ping(0x1234)),
        ("60001234", coap.empty_ack(0x1234)),
        ("70001234", coap.reset(0x1234)),
        ("61a3100061", Message(Type.ACK, Code.SERVICE_UNAVAILABLE, 0x1000, b"a")),
        (
            "4102100362b146e006fd40",
            Message(
                Type.CON,
                Code.POST,
                0x1003,
                b"b",
                ((Option.URI_PATH, b"F"), (Option.DISCARD_DATA, b""), (Option.CANCEL_UPDATE, b"")),
            ),
        ),
        (
            "50022003b141e006e9ff02000000",
            Message(
                Type.NON,
                Code.POST,
                0x2003,
                b"",
                ((Option.URI_PATH, b"A"), (Option.CHUNK_INDEX, b"")),
                bytes.fromhex("02000000"),
            ),
        ),
    ],
)
def test_worked_examples(wire: str, message: Message) -> None:
    assert coap.encode(message).hex() == wire
    assert coap.decode(bytes.fromhex(wire)) == message


@pytest.mark.parametrize(
    ("wire", "what"),
    [
        ("", "too short"),
        ("00", "too short"),
        ("400000", "too short"),
        ("80000001", "not a CoAP message"),
        ("490100010102030405060708090a", "not a CoAP message"),
        ("4201000101", "inside its token"),
        ("4000000101", "empty CoAP message"),
        ("40010001b2", "runs past the end"),
        ("40010001d0", "header is broken"),
        ("40010001e000", "header is broken"),
        ("400100011f", "header is broken"),
        ("40010001f1ff", "header is broken"),
    ],
)
def test_broken_messages_are_refused(wire: str, what: str) -> None:
    with pytest.raises(WireError, match=what):
        coap.decode(bytes.fromhex(wire))


def test_payload_marker_without_payload_is_no_payload() -> None:
    assert coap.decode(bytes.fromhex("40020001b165ff")).payload == b""


def test_options_are_sorted_and_repeated_ones_keep_their_order() -> None:
    message = Message(
        Type.CON,
        Code.POST,
        1,
        options=((Option.URI_QUERY, b"2"), (Option.URI_PATH, b"a"), (Option.URI_PATH, b"b")),
    )
    assert coap.encode(message).hex() == "40020001" + "b161" + "0162" + "4132"


def test_option_accessors() -> None:
    message = coap.decode(bytes.fromhex("40020001b145026162" + "1112" + "22" + "0e10"))
    assert message.path == ("E", "ab")
    assert message.options_of(Option.URI_PATH) == [b"E", b"ab"]
    assert message.option(Option.CONTENT_FORMAT) == b"\x12"
    assert message.option(Option.URI_QUERY) is None
    assert message.uint(Option.MAX_AGE) == 3600
    assert message.uint(Option.BLOCK1) is None
    assert message.is_request
    assert not message.is_response
    assert not message.is_empty


@pytest.mark.parametrize(
    ("value", "number"), [(b"", 0), (b"\0\0\0\x05", 5), (b"\xff\xff\xff\xff", 0xFFFFFFFF)]
)
def test_unsigned_options_are_read_leniently(value: bytes, number: int) -> None:
    assert Message(Type.CON, 1, 1, options=((14, value),)).uint(14) == number


def test_bad_option_values_raise() -> None:
    with pytest.raises(WireError, match="too long"):
        Message(Type.CON, 1, 1, options=((14, bytes(5)),)).uint(14)
    with pytest.raises(WireError, match="UTF-8"):
        _ = Message(Type.CON, 1, 1, options=((11, b"\xff"),)).path


@pytest.mark.parametrize(
    ("value", "shortest", "device"),
    [
        (0, "", ""),
        (0xFF, "ff", "ff"),
        (0x100, "0100", "0100"),
        (0xFFFF, "ffff", "ffff"),
        (0x10000, "010000", "00010000"),
        (0xFFFFFFFF, "ffffffff", "ffffffff"),
    ],
)
def test_integers(value: int, shortest: str, device: str) -> None:
    assert coap.encode_uint(value).hex() == shortest
    assert coap.encode_uint_device(value).hex() == device


@pytest.mark.parametrize(
    ("wire", "block", "size"),
    [("0e", Block(0, True, 6), 1024), ("", Block(0, False, 0), 16), ("1d", Block(1, True, 5), 512)],
)
def test_blocks(wire: str, block: Block, size: int) -> None:
    assert block.encode().hex() == wire
    assert Block.decode(bytes.fromhex(wire)) == block
    assert block.size == size


@pytest.mark.parametrize("wire", ["07", "0000000000"])
def test_bad_blocks(wire: str) -> None:
    with pytest.raises(WireError, match="Block option"):
        Block.decode(bytes.fromhex(wire))


@pytest.mark.parametrize(
    "change",
    [{"mid": 0x10000}, {"mid": -1}, {"code": 256}, {"token": bytes(9)}, {"options": ((70000, b""),)}],
)
def test_fields_that_do_not_fit_are_the_callers_mistake(change: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="cannot be encoded"):
        coap.encode(replace(Message(Type.CON, Code.GET, 1), **change))  # type: ignore[arg-type]


def test_code_text() -> None:
    assert [coap.code_text(code) for code in (0x02, 0x45, 0x84, 0xA3)] == ["0.02", "2.05", "4.04", "5.03"]
