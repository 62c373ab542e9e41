"""The serial log over a real pty, and the listening-mode console of USB fact sheet 3."""

from __future__ import annotations

import json
import os
import re
import threading
import tracemalloc
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.errors import RigError, WireError
from hil.usb.console import (
    Cipher,
    Console,
    Identity,
    Security,
    WifiCredentials,
    parse_describe,
    parse_identity,
    parse_mac,
    parse_version,
)
from hil.usb.jsonreply import json_object
from hil.usb.seriallog import SerialLog, touch

ID = "e00fce68aabbccddeeff0011"


class Line:
    """The board's end of a serial line."""

    def __init__(self) -> None:
        self.board, self.host = os.openpty()
        tty.setraw(self.host)
        self.path = os.ttyname(self.host)

    def say(self, text: str) -> None:
        os.write(self.board, text.encode())

    def hear(self, size: int = 100) -> str:
        return os.read(self.board, size).decode()

    def hear_line(self) -> str:
        """What the host answers, up to its return."""
        text = ""
        while not text.endswith("\r"):
            text += self.hear()
        return text[:-1]

    def unplug(self) -> None:
        for end in (self.board, self.host):
            if end >= 0:
                os.close(end)
        self.board = self.host = -1


@pytest.fixture
def line() -> Iterator[Line]:
    made = Line()
    yield made
    made.unplug()


@pytest.fixture
def log(line: Line) -> Iterator[SerialLog]:
    made = SerialLog("argon-1")
    made.attach(line.path)
    assert made.wait_attached(5)
    yield made
    made.detach()


def test_what_one_assertion_saw_the_next_sees_too(line: Line, log: SerialLog) -> None:
    line.say("probe: version 1\r\nready\r\n")
    log.expect("^ready", 5)
    assert log.expect(r"version (\d+)", 5)[1] == "1"
    assert [each.text for each in log.lines()] == ["probe: version 1", "ready"]


def test_a_cursor_hides_what_came_before_it(line: Line, log: SerialLog) -> None:
    line.say("boot 1\r\n")
    log.expect("boot 1", 5)
    mark = log.mark()
    with pytest.raises(AssertionError, match=r"no match for 'boot \\\\d'.*port open; saw:\n\(nothing\)"):
        log.expect(r"boot \d", 0.02, since=mark)
    line.say("boot 2\r\n")
    assert log.expect(r"boot (\d)", 5, since=mark)[1] == "2"
    assert log.text(mark) == "boot 2\r\n"


def test_lines_keep_the_time_of_their_first_byte() -> None:
    ticks = iter(range(1, 10))
    log = SerialLog("x", clock=lambda: float(next(ticks)))
    for data in (b"on", b"e\ntwo\n", b"three"):
        log.append(data)
    assert [(line.at, line.text) for line in log.lines()] == [(1.0, "one"), (2.0, "two"), (3.0, "three")]


def test_the_log_survives_a_re_enumeration(line: Line, log: SerialLog) -> None:
    line.say("before\r\n")
    log.expect("before", 5)
    line.unplug()
    other = Line()
    try:
        log.attach(other.path)
        assert log.wait_attached(5)
        other.say("after\r\n")
        log.expect("before\r?\nafter", 5)
    finally:
        log.detach()
        other.unplug()


def test_6_17_what_a_board_said_before_the_port_was_open_is_in_the_log(line: Line) -> None:
    """The boot line: a board says it as soon as it enumerates, and pyserial empties the port when it opens it."""
    line.say("probe: version 1 build 0123456789abcdef boot 7\r\n")
    log = SerialLog("argon-1")
    log.attach(line.path)
    try:
        assert log.expect(r"boot (\d+)", 5)[1] == "7"
    finally:
        log.detach()


def test_6_17_the_next_port_is_read_though_it_has_the_name_of_the_last(line: Line, tmp_path: Path) -> None:
    name = tmp_path / "ttyACM0"
    name.symlink_to(line.path)
    log = SerialLog("argon-1")
    log.attach(str(name))
    assert log.wait_attached(5)
    line.unplug()
    for reader in (each for each in threading.enumerate() if each.name == "serial-argon-1"):
        reader.join(5)
    other = Line()
    name.unlink()
    name.symlink_to(other.path)
    other.say("boot 2\r\n")
    log.attach(str(name))
    try:
        log.expect("boot 2", 5)
    finally:
        log.detach()
        other.unplug()


def test_6_17_an_addition_costs_what_it_adds_and_not_what_is_there() -> None:
    """Ten megabytes are there: one line more must not copy them."""
    log = SerialLog("argon-1")
    for _ in range(10):
        log.append(b"x" * 1_000_000)
    tracemalloc.start()
    try:
        for _ in range(100):
            log.append(b"one more\n")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 100_000, "bytes of memory"
    assert log.text(log.mark() - 9) == "one more\n"


def test_6_17_waiting_for_silence_has_an_end() -> None:
    log = SerialLog("argon-1")
    stop = threading.Event()

    def talk() -> None:
        while not stop.wait(0.001):
            log.append(b"tick\r\n")

    talker = threading.Thread(target=talk)
    talker.start()
    try:
        with pytest.raises(RigError, match="argon-1 does not stop talking"):
            log.until_idle(0, 5, within=0.1)
    finally:
        stop.set()
        talker.join()


@pytest.mark.parametrize("parts", [(b"21 \xc2", b"\xb0C"), (b"\xe6\xb8", b"\xa9", b" ok")])
def test_6_17_a_character_that_arrives_in_pieces_is_whole(parts: tuple[bytes, ...]) -> None:
    log = SerialLog("argon-1")
    for part in parts:
        log.append(part)
    assert log.text() == b"".join(parts).decode()


@given(st.lists(st.text(max_size=20), max_size=20), st.integers(0, 200))
def test_any_portions_make_the_same_log(portions: list[str], since: int) -> None:
    log = SerialLog("argon-1")
    for portion in portions:
        log.append(portion.encode())
    whole = "".join(portions)
    assert log.mark() == len(whole)
    assert log.text(since) == whole[since:]
    assert "".join(each.text for each in log.lines()) == "".join(
        each.rstrip("\r\n") for each in whole.splitlines(keepends=True)
    )


def test_a_match_begins_where_the_log_is_looked_at() -> None:
    log = SerialLog("argon-1")
    log.append(b"one two\nthree\n")
    found, end = log.find(r"^\w+", 0, since=4)
    assert (found[0], end) == ("three", 13), "no line begins at two"
    assert log.find(r"^\w+", 0, since=8)[1] == 13


DEEP = "[" * 100_000


@pytest.mark.parametrize(
    "text", ['{"a":' + DEEP, '{"a":' + "[" * 33 + "]" * 33 + "}", '{"a":' + "1" * 5000 + "}"]
)
def test_6_17_json_too_deep_or_too_long_for_a_board_is_refused(text: str) -> None:
    with pytest.raises(WireError):
        parse_describe(text)
    with pytest.raises(WireError):
        json_object(text.encode(), "the probe's reply")


def test_brackets_in_a_string_are_not_depth() -> None:
    text = json.dumps({"a": DEEP + '"]\\'})
    assert json_object(text, "the reply") == {"a": DEEP + '"]\\'}


@given(st.binary(max_size=80))
def test_any_reply_is_an_object_or_a_wire_error(data: bytes) -> None:
    try:
        assert isinstance(json_object(data, "the reply"), dict)
    except WireError:
        return


def test_6_17_a_port_that_somebody_holds_is_named_and_read_as_soon_as_it_is_free(line: Line) -> None:
    holder = SerialLog("somebody")
    holder.attach(line.path)
    assert holder.wait_attached(5)
    log = SerialLog("argon-1")
    log.attach(line.path)
    try:
        with pytest.raises(AssertionError, match=r"port not open \(.*(lock|busy)"):
            log.expect("never", 0.3)
        holder.detach()
        assert log.wait_attached(10)
    finally:
        log.detach()


def test_a_port_that_is_not_open_is_named() -> None:
    with pytest.raises(RigError, match="serial port of photon-1 is not open"):
        SerialLog("photon-1").write(b"x")


def test_detaching_lets_the_port_go(line: Line, log: SerialLog) -> None:
    log.detach()
    assert not log.attached
    again = SerialLog("second")
    again.attach(line.path)
    assert again.wait_attached(5)
    again.detach()


def test_a_touch_of_a_port_that_is_gone_is_no_error() -> None:
    touch("/dev/no-such-port", 14400)


def test_the_device_secret_never_leaves_the_log(line: Line, log: SerialLog) -> None:
    line.say(f"Device ID: {ID}\r\nDevice Secret: 5TTT9BBBEEEE123\r\nSerial Number: ARGHAB901XYZ123\r\n")
    log.expect("Serial Number", 5)
    shown = log.text() + "".join(each.text for each in log.lines())
    assert "5TTT9" not in shown
    assert "Device Secret: ***" in log.text()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"Your core id is {ID}\r\n", Identity(ID)),
        (f"Your device id is {ID.upper()}\r\n", Identity(ID)),
        (
            f"Device ID: {ID}\r\nDevice Secret: 5TTT9BBBEEEE123\r\nSerial Number: B40HAB901XYZ123\r\n"
            "IMEI: 352753090000001\r\nICCID: 89014103271000000001\r\nCell Radio Version: L0.0.00.00.05.06\r\n",
            Identity(ID, "B40HAB901XYZ123", "352753090000001", "89014103271000000001", "L0.0.00.00.05.06"),
        ),
        (f"Device ID: {ID}\r\nIMEI: 353162070000001\r\n", Identity(ID, imei="353162070000001")),
    ],
)
def test_identity_has_three_shapes(text: str, expected: Identity) -> None:
    assert parse_identity(text) == expected


@given(st.text(max_size=60))
def test_console_answers_parse_or_are_wire_errors(text: str) -> None:
    for parse in (parse_identity, parse_version, parse_mac, parse_describe):
        try:
            parse(text)
        except WireError:
            continue


def test_single_keys_get_their_answers(line: Line, log: SerialLog) -> None:
    answers = {
        "i": f"Your device id is {ID}\r\n",
        "v": "system firmware version: 6.2.0\n\r\n",
        "m": "Your device MAC address is\r\nE0:4F:43:00:00:01\r\n",
        "s": '{"p":12,"m":[{"f":"u","n":"2","v":6,"d":[]}]}\r\n',
        "x": "",
    }
    heard: list[str] = []

    def board() -> None:
        while not heard or heard[-1] != "x":
            heard.append(line.hear(1))
            line.say(answers[heard[-1]])

    thread = threading.Thread(target=board)
    thread.start()
    console = Console(log)
    assert console.identity().device_id == ID
    assert console.version() == "6.2.0"
    assert console.mac() == "e0:4f:43:00:00:01"
    assert console.describe()["p"] == 12
    console.leave()
    thread.join(5)
    assert heard == ["i", "v", "m", "s", "x"]


SEEN = ("SSID: ", "Password: ")
UNSEEN = (
    "SSID: ",
    "Security 0=unsecured, 1=WEP, 2=WPA, 3=WPA2, 4=WPA Enterprise, 5=WPA2 Enterprise: ",
    "Security Cipher 1=AES, 2=TKIP, 3=AES+TKIP: ",
    "Password: ",
)
THANKS = "Thanks! Wait while I save those credentials...\r\n\r\n"
SUCCESS = THANKS + "Awesome. Now we'll connect!\r\n\r\n    Particle <3 you!\r\n\r\n"


@pytest.mark.parametrize(
    ("prompts", "expected"), [(SEEN, ["lab", "secret 1"]), (UNSEEN, ["lab", "3", "3", "secret 1"])]
)
@pytest.mark.parametrize("portion", [3, 1000])
def test_the_wifi_dialogue_answers_the_prompts_that_come(
    line: Line, log: SerialLog, prompts: tuple[str, ...], expected: list[str], portion: int
) -> None:
    heard: list[str] = []

    def board() -> None:
        assert line.hear(1) == "w"
        for prompt in prompts:
            for start in range(0, len(prompt), portion):  # prompts may arrive split
                line.say(prompt[start : start + portion])
            heard.append(line.hear_line())
            line.say(heard[-1] + "\r\n")  # the line editor echoes
        line.say(SUCCESS)

    thread = threading.Thread(target=board)
    thread.start()
    Console(log).set_wifi(WifiCredentials("lab", "secret 1", Security.WPA2, Cipher.AES_TKIP), within=5)
    thread.join(5)
    assert heard == expected


def test_a_board_that_does_not_save_is_an_error(line: Line, log: SerialLog) -> None:
    def board() -> None:
        line.hear(1)
        line.say("SSID: ")
        line.hear_line()
        line.say(THANKS + "Derp. Sorry, we couldn't save the credentials.\r\n\r\n")

    thread = threading.Thread(target=board)
    thread.start()
    with pytest.raises(RigError, match=re.escape("argon-1 did not save")):
        Console(log).set_wifi(WifiCredentials("lab"), within=5)
    thread.join(5)
