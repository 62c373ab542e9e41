"""Details of messages that the worked examples do not show."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.errors import UsageError, WireError
from hil.wire import messages
from hil.wire.coap import message as coap
from hil.wire.coap.message import Code, Message, Option, Type
from hil.wire.messages import DescribeFlag, Goodbye, NetworkReason, VariableType, Vital, VitalId


def received(wire: str) -> Message:
    return coap.decode(bytes.fromhex(wire))


def test_a_name_in_several_path_options_is_joined() -> None:
    split = Message(Type.NON, Code.POST, 1, options=((11, b"E"), (11, b"a"), (11, b"b"), (11, b"c")))
    assert messages.parse_event(split).name == "a/b/c"
    assert messages.parse_event(messages.event(1, "a/b/c", confirmable=False)).name == "a/b/c"


@pytest.mark.parametrize(
    ("ttl", "old", "option"),
    [
        (60, False, None),
        (60, True, None),
        (0, False, ""),
        (0, True, "000000"),
        (3600, False, "0e10"),
        (100_000, False, "000186a0"),
        (100_000, True, "0186a0"),
    ],
)
def test_max_age_forms(ttl: int, old: bool, option: str | None) -> None:
    message = messages.event(1, "x", confirmable=True, ttl=ttl, old_max_age=old)
    value = message.option(Option.MAX_AGE)
    assert (None if value is None else value.hex()) == option
    assert messages.parse_event(received(coap.encode(message).hex())).ttl == ttl


@pytest.mark.parametrize(("name", "ttl"), [("", 60), ("x", -1), ("x", 0x1000000)])
def test_events_that_no_device_could_send(name: str, ttl: int) -> None:
    with pytest.raises(UsageError, match="event"):
        messages.event(1, name, confirmable=True, ttl=ttl)


def test_firehose_subscription() -> None:
    message = messages.subscribe(1, "", query=None)
    assert coap.encode(message).hex() == "40010001b165"
    assert messages.parse_subscription(message) == messages.Subscription("", None, frozenset())


@pytest.mark.parametrize(
    ("parse", "wire", "what"),
    [
        (messages.parse_event, "40020001b145", "event without a name"),
        (messages.parse_event, "40010001b1450178", "another kind"),
        (messages.parse_subscription, "40010001b1650178ff616263", "24 hex digits"),
        (messages.parse_subscription, "40010001b1650178ff80", "not text"),
        (messages.parse_function_call, "4102000161b166036c6564", "argument"),
        (messages.parse_function_call, "4102000161b16640", "without a name"),
        (messages.parse_variable_request, "4101000161b176", "without a name"),
        (messages.decode_function_result, "4144000161ff000000", "expected: 2.04 with 4 bytes"),
        (messages.decode_function_result, "4184000161ff00000000", "found: 4.04 with 4 bytes"),
        (messages.parse_time_reply, "6145000161", "time reply"),
        (messages.parse_signal, "4103000161b173", "signal without a value"),
        (messages.parse_goodbye, "40020001b178", "varint"),
        (messages.parse_goodbye, "40020001b178ff0305", "varint"),
        (messages.parse_describe_request, "4101000161b16440", "Describe flags"),
        (messages.parse_describe_post, "4102000161b1644108", "Describe flags"),
    ],
)
def test_broken_content_is_named(parse: Callable[[Message], object], wire: str, what: str) -> None:
    with pytest.raises(WireError, match=what):
        parse(received(wire))


@pytest.mark.parametrize("token", [b"", b"ab"])
def test_requests_to_a_device_need_a_token_of_one_byte(token: bytes) -> None:
    builders: list[Callable[[], Message]] = [
        lambda: messages.function_call(1, token, "f", b""),
        lambda: messages.variable_request(1, token, "v"),
        lambda: messages.describe_request(1, token, 1),
        lambda: messages.signal(1, token, True),
    ]
    for build in builders:
        with pytest.raises(UsageError, match="exactly 1 byte"):
            build()


@pytest.mark.parametrize(
    ("type_", "value", "wire"),
    [
        (VariableType.BOOL, True, "01"),
        (VariableType.BOOL, False, "00"),
        (VariableType.INT, -2, "fffffffe"),
        (VariableType.INT, 0x01020304, "01020304"),
        (VariableType.DOUBLE, 1.5, "000000000000f83f"),
        (VariableType.STRING, "23 °C", "323320c2b043"),
        (VariableType.STRING, "", ""),
    ],
)
def test_variables(type_: VariableType, value: bool | int | str | float, wire: str) -> None:
    assert messages.encode_variable(type_, value).hex() == wire
    decoded = messages.decode_variable(type_, bytes.fromhex(wire))
    assert decoded == value
    assert type(decoded) is type(value)


def test_unsigned_variables_travel_as_their_bits() -> None:
    assert messages.encode_variable(VariableType.INT, 0xFFFFFFFF).hex() == "ffffffff"


def test_a_string_cut_inside_a_character_is_still_read() -> None:
    assert messages.decode_variable(VariableType.STRING, b"a\xc2") == "a\ufffd"


def test_an_empty_string_has_no_payload_marker() -> None:
    result = messages.variable_result(0x2006, b"f", b"", confirmable=False)
    assert coap.encode(result).hex() == "5145200666"


@pytest.mark.parametrize(
    ("type_", "wire"), [(VariableType.BOOL, ""), (VariableType.INT, "00"), (VariableType.DOUBLE, "00000000")]
)
def test_variables_of_wrong_length(type_: VariableType, wire: str) -> None:
    with pytest.raises(WireError, match=type_.wire_name):
        messages.decode_variable(type_, bytes.fromhex(wire))


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (VariableType.INT, 1 << 32),
        (VariableType.INT, 1.5),
        (VariableType.STRING, 1),
        (VariableType.DOUBLE, "x"),
    ],
)
def test_variables_of_wrong_type(type_: VariableType, value: str | float) -> None:
    with pytest.raises(UsageError, match=type_.wire_name):
        messages.encode_variable(type_, value)


def test_variable_type_names() -> None:
    assert [(int(type_), type_.wire_name) for type_ in VariableType] == [
        (1, "bool"),
        (2, "int32"),
        (4, "string"),
        (9, "double"),
    ]


def test_results_that_do_not_fit_are_the_callers_mistake() -> None:
    with pytest.raises(UsageError, match="function result"):
        messages.function_result(1, b"a", 1 << 31, confirmable=True)
    with pytest.raises(UsageError, match="time"):
        messages.time_reply(messages.time_request(1, b"a"), 1 << 32)


def test_goodbye_before_sleep_says_how_long() -> None:
    content = Goodbye(cloud_reason=6, sleep_seconds=3600, network_reason=NetworkReason.SLEEP)
    message = messages.goodbye(1, content, confirmable=True)
    assert message.payload.hex() == "0d06901c05"
    assert messages.parse_goodbye(message) == content


@given(st.lists(st.none() | st.integers(0, 0xFFFFFFFF), min_size=4, max_size=4))
def test_goodbyes_survive(values: list[int | None]) -> None:
    content = Goodbye(*values)
    assert messages.parse_goodbye(messages.goodbye(1, content, confirmable=False)) == content


def test_a_describe_request_without_query_means_system_and_application() -> None:
    flags = messages.parse_describe_request(received("4101000161b164"))
    assert flags == DescribeFlag.SYSTEM | DescribeFlag.APPLICATION


def test_the_reply_to_a_describe_request() -> None:
    reply = messages.describe_reply(0x2001, b"d", b"{}", confirmable=True)
    assert coap.encode(reply).hex() == "4145200164ff7b7d"
    typed = messages.describe_reply(0x2001, b"d", b"{}", confirmable=True, content_format=42)
    assert coap.encode(typed).hex() == "4145200164c12aff7b7d"


VITALS = (
    Vital(VitalId.UPTIME, 3600),
    Vital(VitalId.RSSI, -62),
    Vital(VitalId.BATTERY_CHARGE, -120, failed=True),
)
VITALS_WIRE = "00" + "0400" + "0200" + "0400" + "0600100e0000" + "1300c2ffffff" + "038088ffffff"


def test_vitals() -> None:
    assert messages.encode_vitals(VITALS).hex() == VITALS_WIRE
    assert messages.decode_vitals(bytes.fromhex(VITALS_WIRE)) == VITALS


def test_vitals_keep_all_bits_of_an_address() -> None:
    (vital,) = messages.decode_vitals(messages.encode_vitals([Vital(VitalId.IPV4_ADDRESS, 0xC0A80102)]))
    assert vital.unsigned == 0xC0A80102


@pytest.mark.parametrize("wire", ["", "0104000200040000", "00040002000400" + "0600100e00", "00040002000800"])
def test_payloads_that_are_not_vitals(wire: str) -> None:
    with pytest.raises(WireError, match="not a metrics payload"):
        messages.decode_vitals(bytes.fromhex(wire))


@pytest.mark.parametrize("vital", [Vital(0x8000, 1), Vital(1, 1 << 32)])
def test_vitals_that_do_not_fit(vital: Vital) -> None:
    with pytest.raises(UsageError, match="vital"):
        messages.encode_vitals([vital])


@given(st.binary(max_size=40))
def test_garbage_vitals_raise_only_wire_errors(data: bytes) -> None:
    try:
        vitals = messages.decode_vitals(bytes.fromhex("00040002000400") + data)
    except WireError:
        assert len(data) % 6
        return
    assert len(vitals) == len(data) // 6
