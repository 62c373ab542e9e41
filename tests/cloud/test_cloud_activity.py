"""What a cloud tells of itself: each thing once, with its result and with what the ledger says it cost."""

from __future__ import annotations

import json

import pytest

from hil.cloud.state.activity import Cost, Entry
from hil.cloud.state.happenings import (
    Billed,
    Called,
    Delivered,
    Happening,
    Joined,
    Left,
    Measured,
    Published,
    TurnedAway,
    Updated,
    VariableRead,
)
from hil.cloud.state.journal import Journal
from hil.cloud.sync.facade import DeviceCloud
from hil.errors import DeviceTimeout, NotFound
from hil.wire import messages
from hil.wire.coap.message import encode
from hil.wire.messages import Vital, VitalId, encode_vitals
from tests.cloud.conftest import MakeBoard, bring_up, dial, hasty
from tests.cloud.kits import KITS
from tests.cloud.scripted_board import PATIENCE, ScriptedBoard
from tests.cloud.test_cloud_four_boards import firmware

ALL = tuple(KITS)


class Told:
    """The entries of a cloud, to wait for."""

    def __init__(self, cloud: DeviceCloud) -> None:
        self.journal: Journal[Entry] = Journal()
        cloud.core.activity.listeners.append(self.journal.append)

    def expect(self, what: Happening) -> Entry:
        found = self.journal.wait(lambda entry: entry.what == what, within=PATIENCE)
        assert found is not None, "\n".join(map(str, self.journal.since()))
        return found

    def of(self, kind: type[Happening]) -> list[Entry]:
        return [entry for entry in self.journal.since() if isinstance(entry.what, kind)]


@pytest.fixture
def told(cloud: DeviceCloud) -> Told:
    return Told(cloud)


@pytest.mark.parametrize("name", ALL)
def test_coming_and_going_in_words(name: str, cloud: DeviceCloud, told: Told, boards: MakeBoard) -> None:
    board = bring_up(boards(name), cloud)
    joined = told.expect(Joined("hello", "127.0.0.1"))
    assert (joined.device_id, joined.device) == (board.device_id, board.device_id[-6:])
    board.goodbye()
    left = told.expect(Left("goodbye, it resets, reset by its application"))
    assert left.costs == joined.costs == ()


@pytest.mark.parametrize("name", ALL)
def test_a_call_and_a_read_are_told_with_result_and_cost(
    name: str, cloud: DeviceCloud, told: Told, boards: MakeBoard
) -> None:
    board = bring_up(boards(name), cloud)
    assert cloud.call(board, "led", "four") == 4
    assert told.expect(Called("led", "four", 4)).costs == (Cost("function", 1),)
    assert cloud.read(board, "temp") == 21.5
    assert told.expect(VariableRead("temp", 21.5)).costs == (Cost("variable", 1),)
    with pytest.raises(NotFound):
        cloud.call(board, "nothing")
    assert told.expect(Called("nothing", "", error="Function nothing not found")).costs == ()


@pytest.mark.parametrize("name", ALL)
def test_vitals_are_told(name: str, cloud: DeviceCloud, told: Told, boards: MakeBoard) -> None:
    """Issue 6, point 11."""
    board = bring_up(boards(name), cloud)
    vitals = [Vital(VitalId.UPTIME, 77), Vital(VitalId.RSSI, -57), Vital(VitalId.SIGNAL_STRENGTH, -210, True)]
    board.ask(messages.describe_post(board.next_mid(), b"\x02", 4, encode_vitals(vitals)))
    entry = told.expect(Measured({"uptime": 77, "rssi": -57, "signal_strength": None}))
    assert entry.costs == ()
    assert entry.as_dict()["values"] == {"uptime": 77, "rssi": -57, "signal_strength": None}


@hasty
def test_attempts_are_on_the_bill_and_those_after_the_line_have_lines_of_their_own(
    cloud: DeviceCloud, told: Told, boards: MakeBoard
) -> None:
    board = bring_up(boards("argon"), cloud)
    board.deaf = True
    with pytest.raises(DeviceTimeout):
        cloud.call(board, "led", "x", timeout=0.1)
    (failed,) = told.of(Called)
    assert failed.costs == (Cost("function", 1),)
    third = told.expect(Billed("call led, attempt 3"))
    assert third.costs == (Cost("function", 1),)
    assert third.device_id == board.device_id
    assert len(told.of(Billed)) == 2
    rows = [row.count for row in cloud.operations.rows(device=board) if row.kind == "function"]
    assert sum(rows) == 3


@pytest.mark.parametrize("name", ALL)
def test_an_event_from_a_device_and_its_delivery_to_another(
    name: str, cloud: DeviceCloud, told: Told, boards: MakeBoard
) -> None:
    source, listener = bring_up(boards(name), cloud), bring_up(boards("argon", "e0" * 12), cloud)
    listener.subscribe("garden/")
    source.publish("garden/watered", b"bed 3")
    listener.wait_event("garden/watered")
    published = told.expect(Published("garden/watered", "bed 3", 5))
    delivered = told.expect(Delivered("garden/watered", "bed 3", 5))
    assert (published.device_id, published.costs) == (source.device_id, (Cost("publish", 1),))
    assert (delivered.device_id, delivered.costs) == (listener.device_id, (Cost("subscribe", 1),))
    order = [entry.what for entry in told.journal.since() if entry in (published, delivered)]
    assert order == [published.what, delivered.what]


def test_an_event_from_the_api_costs_nothing_but_its_deliveries(
    cloud: DeviceCloud, told: Told, boards: MakeBoard
) -> None:
    board = bring_up(boards("boron"), cloud)
    board.subscribe("garden/")
    cloud.publish("garden/gate", "open")
    board.wait_event("garden/gate")
    published = told.expect(Published("garden/gate", "open", 4))
    assert (published.device_id, published.device, published.costs) == (None, "", ())
    assert told.expect(Delivered("garden/gate", "open", 4)).costs == (Cost("subscribe", 1),)


def test_an_event_that_comes_twice_is_told_and_billed_twice(
    cloud: DeviceCloud, told: Told, boards: MakeBoard
) -> None:
    board = bring_up(boards("argon"), cloud)
    message = messages.event(board.next_mid(), "garden/x", b"1", confirmable=True)
    board.ask(message)
    board.send_raw(encode(message))
    again = told.expect(Published("garden/x", "1", 1, repeated=True))
    assert again.costs == (Cost("publish", 1),)


@pytest.mark.parametrize("name", ALL)
def test_an_update_is_told_from_start_to_end(
    name: str, cloud: DeviceCloud, told: Told, boards: MakeBoard
) -> None:
    board = bring_up(boards(name), cloud)
    file = firmware(board)
    assert cloud.flash(board, file, within=PATIENCE).ok
    entries = [entry.what for entry in told.of(Updated) if isinstance(entry.what, Updated)]
    assert (entries[0].state, entries[0].sent, entries[0].size) == ("started", 0, len(file))
    assert (entries[-1].state, entries[-1].sent) == ("sent", len(file))
    steps = [one.sent for one in entries if one.state == "sending"]
    assert steps
    assert steps == sorted(set(steps))
    assert all(0 < sent < len(file) for sent in steps)


def test_a_failed_update_says_why(cloud: DeviceCloud, told: Told, boards: MakeBoard) -> None:
    board = bring_up(boards("argon"), cloud)
    board.verdict = -190
    report = cloud.flash(board, firmware(board), within=PATIENCE)
    assert not report.ok
    (last,) = [entry.what for entry in told.of(Updated)][-1:]
    assert isinstance(last, Updated)
    assert (last.state, last.detail) == ("failed", report.reason)


@pytest.mark.parametrize("name", ["photon", "argon"])
def test_who_is_turned_away(name: str, cloud: DeviceCloud, told: Told) -> None:
    board = ScriptedBoard(KITS[name])
    dial(board, cloud)
    board.power_on()
    refused = told.journal.wait(lambda entry: isinstance(entry.what, TurnedAway), within=PATIENCE)
    board.power_off()
    assert refused is not None
    assert isinstance(refused.what, TurnedAway)
    assert refused.what.address == "127.0.0.1"
    assert refused.device == ""
    assert refused.device_id == (board.device_id if board.uses_tcp else None)


def test_an_entry_is_json_with_the_fields_of_its_kind(
    cloud: DeviceCloud, told: Told, boards: MakeBoard
) -> None:
    board = bring_up(boards("photon"), cloud)
    cloud.call(board, "led", "on")
    entry = told.expect(Called("led", "on", 2))
    found = json.loads(json.dumps(entry.as_dict()))
    assert found.pop("at").endswith("Z")
    assert found == {
        "kind": "call",
        "device": board.device_id[-6:],
        "device_id": board.device_id,
        "costs": {"function": 1},
        "function": "led",
        "argument": "on",
        "result": 2,
        "error": None,
    }
    assert cloud.core.activity.recent()[-1] == entry
