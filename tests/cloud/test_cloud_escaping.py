"""What devices and clients say reaches terminals, logs and streams escaped (issue 6, point 3)."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.cloud.http.stream import frame
from hil.cloud.state.events import CloudEvent
from hil.cloud.sync.facade import DeviceCloud
from hil.errors import HilError, NotFound, Refused
from hil.printable import printable, printable_lines
from hil.wire import messages
from hil.wire.coap.message import Code, Message, Option, Type
from hil.wire.messages import VariableType
from tests.cloud.conftest import MakeBoard, bring_up

CLIPBOARD = "\x1b]52;c;cm0gLXJmIC8=\x07"  # OSC 52: a terminal puts it into its user's clipboard
CLEAR = "\x1b[2J\x1b[H"
FORGED = "ok\r\n12:00:00.000 3d0034000747343337373738 online: hello from 127.0.0.1"
EVIL = [CLIPBOARD, CLEAR, FORGED, "a\u2028b", "a\u2029b", "a\0b", "a\x85b", "a\x9b2Jb", "a\tb"]


@pytest.mark.parametrize("evil", EVIL, ids=ascii)
@pytest.mark.parametrize("name", ["photon", "argon"])
def test_an_event_name_with_control_characters_is_refused(
    name: str, evil: str, cloud: DeviceCloud, boards: MakeBoard
) -> None:
    """Issue 6, point 3: such a name forged lines of logs and fields of streams."""
    board = bring_up(boards(name), cloud)
    mark = cloud.mark()
    path = ((int(Option.URI_PATH), b"E"), (int(Option.URI_PATH), evil.encode()))
    kind = Type.NON if board.uses_tcp else Type.CON
    message = Message(kind, Code.POST, board.next_mid(), options=path, payload=b"x")
    if board.uses_tcp:
        board.send(message)
    else:
        assert board.ask(message).code == Code.BAD_REQUEST
        assert board.ask(message).code == Code.BAD_REQUEST  # the same, when the answer was lost
    board.publish("after")
    cloud.events.expect("after", source=board, since=mark)
    assert [event.name for event in cloud.events.all(source=board, since=mark)] == ["after"]
    assert cloud.operations.spent(since=mark) == {"publish": 1}
    log = cloud.device_log(board, since=mark)
    assert any("EVENT refused: not an event name" in line and printable(evil)[:8] in line for line in log)
    assert all(line.isprintable() for line in log)
    with pytest.raises(Refused, match="not an event name"):
        cloud.publish(evil)


def test_names_in_any_script_and_emoji_are_names(cloud: DeviceCloud, boards: MakeBoard) -> None:
    board = bring_up(boards("argon"), cloud)
    for event in ("дача/свет", "خانه\u200cها", "👩\u200d🔧", "ni\u0303o", "a b"):
        board.publish(event)
        assert cloud.events.expect(event, source=board).name == event


@pytest.mark.parametrize("evil", EVIL, ids=ascii)
def test_a_device_log_is_one_printable_line_for_each_entry(
    evil: str, cloud: DeviceCloud, boards: MakeBoard
) -> None:
    """Issue 6, point 3: subscriptions, unknown paths and Describes of a registered device."""
    board = boards("argon")
    board.functions[evil] = board.functions["led"]
    board.variables[evil] = (VariableType.INT, 1)
    bring_up(board, cloud)
    board.ask(messages.subscribe(board.next_mid(), evil))
    path = ((int(Option.URI_PATH), b"q"), (int(Option.URI_PATH), evil.encode()))
    board.ask(Message(Type.CON, Code.POST, board.next_mid(), options=path))
    log = cloud.device_log(board)
    assert any("not served" in line for line in log)
    assert all(line.isprintable() for line in log)
    with pytest.raises(NotFound) as caught:
        cloud.call(board, "no_such_function")
    assert printable(evil) in str(caught.value)
    assert printable_lines(str(caught.value)) == str(caught.value)
    with pytest.raises(AssertionError) as missed:
        cloud.events.expect("never", within=0.0)
    assert printable_lines(str(missed.value)) == str(missed.value)


@given(st.text())
def test_printable_text_is_one_line_of_printable_characters(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert shown == text or not text.isprintable()


@given(st.text())
def test_a_message_of_an_error_can_be_shown(text: str) -> None:
    """Issue 6, point 3: what was found came from a device, and the message goes to a terminal."""
    message = str(HilError(text, expected=text, found=text, hint=text))
    assert message.replace("\n", "").replace("\t", "").isprintable()


NAMES = st.text(st.one_of(st.characters(), st.sampled_from("\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029\0\x1b")))


@given(NAMES, st.text(), st.integers(0, 0xFFFFFF))
def test_a_stored_name_forges_no_field_of_a_stream(name: str, data: str, ttl: int) -> None:
    """Issue 6, point 3: read as any client reads it, an event is one ``event`` and one ``data``."""
    raw = data.encode("utf-8", "replace")
    text = frame(CloudEvent(1, name, data, raw, None, "hil", 0.0, True, ttl, None)).decode()
    lines = text.splitlines()  # at more than the three ends of line that the format knows
    assert [line.partition(": ")[0] for line in lines] == ["event", "data", ""]
    assert text.endswith("\n\n")
    assert json.loads(lines[1].partition(": ")[2])["data"] == (data if raw else None)
    shown = lines[0].partition(": ")[2]
    assert not {unicodedata.category(one) for one in shown} & {"Cc", "Cs", "Zl", "Zp"}


def test_what_python_calls_unprintable_is_escaped_as_python_writes_it() -> None:
    examples = {"\x1b[2J": "\\x1b[2J", "a\nb": "a\\nb", "\u202e": "\\u202e", "é": "é", "\u2028": "\\u2028"}
    assert {text: printable(text) for text in examples} == examples
    assert printable_lines("a\n\tb\r") == "a\n\tb\\r"
