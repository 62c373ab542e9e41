"""How much one device may have of the cloud (issue 6, point 4), and what it sends that no real one would."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.cloud.session.blockwise import MAX_SIZE
from hil.cloud.sync.facade import DeviceCloud
from hil.errors import Refused, WireError
from hil.wire import messages
from hil.wire.coap.message import Block, Code, Message, Option, Type, ping
from hil.wire.messages import Kind
from hil.wire.messages.hello import HelloFlag
from tests.cloud.conftest import MakeBoard, bring_up, config, dial, introduce
from tests.cloud.kits import KITS
from tests.cloud.scripted_board import PATIENCE, ScriptedBoard

LARGEST_TTL = 0xFFFFFF  # seconds (protocol fact sheet 6)


class Babbler(ScriptedBoard):
    """Answers a request for its Describe with a block after which another one follows, always."""

    blocks = 0
    payload = b"x" * 1024

    def _serve_describe(self, message: Message) -> None:
        asked = message.option(Option.BLOCK2)
        number = 0 if asked is None else Block.decode(asked).number
        self.blocks += 1
        block = Block(number, True, 6)
        options = ((int(Option.BLOCK2), block.encode()),)
        kind = Type.NON if self.uses_tcp else Type.CON
        self.send(Message(kind, Code.CONTENT, self.next_mid(), message.token, options, self.payload))


@pytest.fixture(params=["photon", "argon"])
def babbler(request: pytest.FixtureRequest, cloud: DeviceCloud) -> Iterator[Babbler]:
    board = Babbler(KITS[request.param])
    introduce(board, cloud)
    bring_up(board, cloud)
    yield board
    board.power_off()


def test_a_describe_that_never_ends_is_given_up(babbler: Babbler, cloud: DeviceCloud) -> None:
    """Issue 6, point 4: the cloud asked for block after block as long as the device had another."""
    with pytest.raises(WireError, match="payload in blocks is too large"):
        cloud.describe(babbler)
    assert babbler.blocks == MAX_SIZE // 1024 + 1
    assert cloud.device(babbler).functions == ("led",)
    assert cloud.call(babbler, "led", "on") == 2


def test_describe_blocks_without_content_are_no_describe(babbler: Babbler, cloud: DeviceCloud) -> None:
    """Issue 6, point 4: empty blocks would never fill any measure."""
    babbler.payload = b""
    with pytest.raises(WireError, match="block of the wrong size"):
        cloud.describe(babbler)
    assert babbler.blocks == 1


def test_a_device_that_says_hello_again_and_again_is_asked_once(
    cloud: DeviceCloud, boards: MakeBoard
) -> None:
    """Issue 6, point 4: each Hello of a device that does not describe itself began another request."""
    board = boards("argon")
    board.flag_removed = HelloFlag.DEVICE_DESCRIBES
    bring_up(board, cloud)
    board.deaf = True
    before = len(board.inbox)
    hellos = [board.hello() for _ in range(20)]
    for hello in hellos:
        board.ask(hello)
    board.ask(ping(board.next_mid()))
    asked = {one.mid for one in board.inbox.since(before) if messages.classify(one) is Kind.DESCRIBE}
    assert len(asked) == 1


@pytest.mark.parametrize("name", ["photon", "argon"])
def test_a_longer_max_age_is_the_longest_ttl(name: str, cloud: DeviceCloud, boards: MakeBoard) -> None:
    """Issue 6, point 4: the event was stored, and its delivery raised for the 25th bit."""
    board, listener = boards(name), boards("electron")
    listener.prefixes.append("old")
    bring_up(listener, cloud)
    bring_up(board, cloud)
    options = (
        (int(Option.URI_PATH), b"E"),
        (int(Option.URI_PATH), b"old"),
        (int(Option.MAX_AGE), b"\xff" * 4),
    )
    kind = Type.NON if board.uses_tcp else Type.CON
    board.send(Message(kind, Code.POST, board.next_mid(), options=options, payload=b"age"))
    assert cloud.events.expect("old", source=board).ttl == LARGEST_TTL
    delivered = listener.wait_event("old")
    assert (delivered.data, delivered.ttl) == (b"age", LARGEST_TTL)


@pytest.mark.parametrize("ttl", [-1, LARGEST_TTL + 1, 10**5000], ids=["negative", "25 bits", "5000 digits"])
def test_the_api_keeps_nothing_that_it_refuses(ttl: int, cloud: DeviceCloud, boards: MakeBoard) -> None:
    """Issue 6, point 4: the answer was 400 for an event that was stored and shown."""
    listener = boards("argon")
    listener.prefixes.append("kept")
    bring_up(listener, cloud)
    mark = cloud.mark()
    with pytest.raises(Refused, match="not a ttl"):
        cloud.publish("kept", "x", ttl=ttl)
    assert cloud.events.all("kept", since=mark) == []
    cloud.publish("kept", "x", ttl=LARGEST_TTL)
    assert listener.wait_event("kept").ttl == LARGEST_TTL


def test_a_size_of_five_thousand_digits_is_no_size(cloud: DeviceCloud, boards: MakeBoard) -> None:
    """Issue 6, point 4: ``int`` refuses it with an exception that nothing caught, and the connection was gone."""
    board = bring_up(boards("photon"), cloud)
    mark = cloud.mark()
    board.publish("spark/hardware/max_binary", b"9" * 5000)
    board.publish("after")
    cloud.events.expect("after", source=board, since=mark)
    assert cloud.online(board)
    assert cloud.contacts(board, since=mark) == []


@pytest.mark.parametrize("digits", [100, 5000])
def test_a_describe_with_a_number_of_thousands_of_digits_is_refused(
    digits: int, cloud: DeviceCloud, boards: MakeBoard
) -> None:
    """Issue 6, point 4: numbers of any length, wherever a device may put one."""
    board = bring_up(boards("photon"), cloud)
    number = "9" * digits
    for payload in (f'{{"f":[],"v":{{"x":{number}}}}}', f'{{"f":[{number}],"v":{{}}}}', number):
        post = messages.describe_post(board.next_mid(), b"\x01", 2, payload.encode())
        assert board.ask(post).code == Code.BAD_REQUEST
    assert cloud.device(board).functions == ("led",)


def test_subscriptions_of_one_device_have_an_end(cloud: DeviceCloud, boards: MakeBoard) -> None:
    """Issue 6, point 4: each prefix is a row, and a look at every event. Device OS itself has six."""
    board = bring_up(boards("argon"), cloud)
    codes = [board.ask(messages.subscribe(board.next_mid(), f"p{one}")).code for one in range(110)]
    kept = len(cloud.device(board).subscriptions)
    assert kept == 100
    assert codes.count(Code.BAD_REQUEST) == 110 - (kept - len(board.prefixes))
    assert board.ask(messages.subscribe(board.next_mid(), "p0", query=b"b")).code == Code.EMPTY


class Stubborn(ScriptedBoard):
    """Reads nothing while it ``refuses``; ``heard`` counts the events that it read in the end."""

    def __init__(self) -> None:
        super().__init__(KITS["photon"])
        self.prefixes.append("flood")
        self.released = threading.Event()
        self.released.set()
        self.heard = 0
        self.receive_buffer = 16_384

    def _take(self, message: Message) -> None:
        self.released.wait(PATIENCE)
        if messages.classify(message) is Kind.EVENT:
            self.heard += 1
        super()._take(message)


@pytest.fixture
def stubborn(cloud: DeviceCloud) -> Iterator[Stubborn]:
    board = Stubborn()
    introduce(board, cloud)
    bring_up(board, cloud)
    yield board
    board.released.set()
    board.power_off()


def test_a_device_that_never_reads_is_cut_off(stubborn: Stubborn, cloud: DeviceCloud) -> None:
    """Issue 6, point 4: 3.6 MB waited for a device that pinged and did not read."""
    mark = cloud.mark()
    stubborn.released.clear()
    sent = 0
    while cloud.online(stubborn) and sent < 6_000:
        stubborn.send(ping(stubborn.next_mid()))
        cloud.publish("flood", "x" * 600)
        sent += 1
    contacts = cloud.core.services.presence.contacts
    gone = contacts.wait(lambda one: not one.is_arrival, position=mark.contacts, within=PATIENCE)
    assert gone is not None
    assert "does not read what it is sent" in gone.detail
    assert sent * 600 < 2_000_000  # what the two systems hold for it included


def test_a_socket_does_not_outlive_its_session(stubborn: Stubborn, cloud: DeviceCloud) -> None:
    """Issue 6, point 4: what still waited to be read kept the socket of a device that was offline alive."""
    stubborn.released.clear()
    for _ in range(800):
        cloud.publish("flood", "x" * 600)
    cloud.disconnect(stubborn)
    stubborn.released.set()
    stubborn.wait_for_the_end()
    assert stubborn.heard < 800


BROKEN = [
    ("UPDATE devices SET system=?", b"{"),
    ("UPDATE devices SET application=?", b'{"f":["led"],"v":{"x":77}}'),
    ("UPDATE devices SET application=?", "by hand"),
    ("UPDATE devices SET hello=?", b"?"),
    ("UPDATE device_subscriptions SET flags=?", "no JSON"),
]


@pytest.mark.parametrize(("statement", "value"), BROKEN, ids=[f"{one[0][7:]}{one[1]!r}" for one in BROKEN])
def test_a_stored_row_that_does_not_parse_stops_no_cloud(
    statement: str, value: bytes | str, tmp_path: Path
) -> None:
    """Issue 6, point 4: one stored Describe that did not parse, and the cloud did not start any more."""
    board, other = ScriptedBoard(KITS["argon"]), ScriptedBoard(KITS["electron"])
    with DeviceCloud(config(tmp_path)) as cloud:
        for each in (board, other):
            introduce(each, cloud)
            bring_up(each, cloud)
            each.power_off()
    (database,) = tmp_path.glob("*.sqlite")
    with contextlib.closing(sqlite3.connect(database)) as store, store:
        table = statement.split()[1]
        column = "id" if table == "devices" else "device_id"
        store.execute(f"{statement} WHERE {column}=?", (value, board.device_id))
    with DeviceCloud(config(tmp_path)) as cloud:
        assert cloud.device(other).functions == ("led",)
        dial(board, cloud)
        bring_up(board, cloud)  # resumes: it has no reason to describe itself
        assert cloud.call(board, "led", "on") == 2
        if "hello" not in statement:
            assert any("does not parse" in line for line in cloud.device_log(board))
        board.power_off()


def test_a_device_whose_description_is_lost_is_asked_again(tmp_path: Path) -> None:
    """Issue 6, point 4: it resumes without a Describe, so nothing but a question brings one."""
    board = ScriptedBoard(KITS["argon"])
    with DeviceCloud(config(tmp_path)) as cloud:
        introduce(board, cloud)
        bring_up(board, cloud)
        board.power_off()
        whole = cloud.device(board)
    (database,) = tmp_path.glob("*.sqlite")
    with contextlib.closing(sqlite3.connect(database)) as store, store:
        store.execute("UPDATE devices SET system='x', application='x'")
    with DeviceCloud(config(tmp_path)) as cloud:
        assert (cloud.device(board).system, cloud.device(board).described) == (None, False)
        dial(board, cloud)
        bring_up(board, cloud)
        assert cloud.read(board, "temp") == 21.5
        assert cloud.device(board).functions == whole.functions
        board.power_off()
