"""The worked examples of cloud API fact sheet 4.4 that need no webhook and no plan, one by one.

Example numbers are those of the table. Devices are boards on loopback; counting is by delivery attempt.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from hil.cloud.billing.feature import Billing
from hil.cloud.billing.tariff import Tariff
from hil.cloud.config import Policy, SizeRule
from hil.cloud.session.meter import Action, Charge
from hil.cloud.sync.facade import DeviceCloud
from hil.errors import DeviceOffline, DeviceTimeout
from hil.wire import messages
from hil.wire.messages import VitalId, encode_vitals, time_request
from tests.cloud.conftest import MakeBoard, bring_up, hasty
from tests.cloud.scripted_board import ScriptedBoard
from tests.cloud.test_cloud_four_boards import firmware

Spent = dict[str, int]


@dataclass
class Lab:
    """Three boards of one owner: A publishes, B and C may be subscribed to ``t``."""

    cloud: DeviceCloud
    a: ScriptedBoard
    b: ScriptedBoard
    c: ScriptedBoard


@pytest.fixture
def lab(cloud: DeviceCloud, boards: MakeBoard) -> Lab:
    ids = ("e00fce68000000000000000a", "e00fce68000000000000000b", "e00fce68000000000000000c")
    return Lab(cloud, *(bring_up(boards("argon", device_id), cloud) for device_id in ids))


def subscribed(lab: Lab) -> None:
    lab.b.subscribe("t")
    lab.c.subscribe("t")


def example_1(lab: Lab) -> Spent:
    """A publishes 10 bytes, nobody subscribes."""
    lab.a.publish("t", b"0123456789")
    return {"publish": 1}


def example_2(lab: Lab) -> Spent:
    """As 1, with five open streams."""
    for _ in range(5):
        lab.cloud.core.bus.subscribe("hil")
    return example_1(lab)


def example_3(lab: Lab) -> Spent:
    """A publishes; B and C subscribed and online."""
    subscribed(lab)
    lab.a.publish("t", b"x")
    lab.b.wait_event("t")
    lab.c.wait_event("t")
    return {"publish": 1, "subscribe": 2}


def example_4(lab: Lab) -> Spent:
    """As 3, C marked offline."""
    subscribed(lab)
    lab.c.goodbye()
    lab.cloud.wait_offline(lab.c)
    lab.a.publish("t")
    return {"publish": 1, "subscribe": 1}


def example_5(lab: Lab) -> Spent:
    """As 3, C silent: three attempts, then offline; the next publish costs 2."""
    subscribed(lab)
    lab.c.deaf = True
    lab.a.publish("t")
    lab.cloud.operations.expect({"publish": 1, "subscribe": 4})
    lab.cloud.wait_offline(lab.c)
    lab.a.publish("t")
    return {"publish": 2, "subscribe": 5}


def example_6(lab: Lab) -> Spent:
    """A subscribes to its own event and publishes."""
    lab.a.subscribe("t")
    lab.a.publish("t")
    lab.a.wait_event("t")
    return {"publish": 1, "subscribe": 1}


def example_7(lab: Lab) -> Spent:
    """The API publishes, two subscribers."""
    subscribed(lab)
    lab.cloud.publish("t", "x")
    return {"subscribe": 2}


def example_8(lab: Lab) -> Spent:
    """Function call, the device answers."""
    assert lab.cloud.call(lab.a, "led", "on") == 2
    return {"function": 1}


def example_9(lab: Lab) -> Spent:
    """Function call, device marked offline."""
    lab.a.goodbye()
    lab.cloud.wait_offline(lab.a)
    with pytest.raises(DeviceOffline):
        lab.cloud.call(lab.a, "led", "on")
    return {}


def example_10(lab: Lab) -> Spent:
    """Function call, believed online, three unacknowledged tries."""
    lab.a.deaf = True
    with pytest.raises(DeviceTimeout):
        lab.cloud.call(lab.a, "led", "on")
    lab.cloud.wait_offline(lab.a)
    return {"function": 3}


def example_11(lab: Lab) -> Spent:
    """Three clients each read one variable."""
    for _ in range(3):
        assert lab.cloud.read(lab.a, "temp") == 21.5
    return {"variable": 3}


def example_12(lab: Lab) -> Spent:
    """Device publish, acknowledgement lost, sent again: the cloud got it twice."""
    message = lab.a.publish("t", b"once")
    again = lab.a.ask(message)
    assert again.mid == message.mid
    assert len(lab.cloud.events.all("t")) == 1
    return {"publish": 2}


def example_13(lab: Lab) -> Spent:
    """Device publish lost on the way, sent again once."""
    lost = messages.event(lab.a.next_mid(), "t", b"x", confirmable=True)
    lab.a.ask(lost)
    return {"publish": 1}


def example_20(lab: Lab) -> Spent:
    """Handshake, Describe, keep-alive, time, vitals, an update of 400 KB, goodbye."""
    board = lab.a
    board.ask(time_request(board.next_mid(), b"\x01"))
    vitals = encode_vitals([messages.Vital(VitalId.UPTIME, 77)])
    board.ask(messages.describe_post(board.next_mid(), b"\x02", 4, vitals))
    assert lab.cloud.events.expect("spark/device/diagnostics/update").data == '{"device": {"uptime": 77}}'
    assert lab.cloud.ping(board)
    report = lab.cloud.flash(board, firmware(board, bytes(400_000)), within=60)
    assert report.ok, report.reason
    board.goodbye()
    lab.cloud.wait_offline(board)
    return {}


def example_21(_lab: Lab) -> Spent:
    """A publish that the device's own rate limit refuses never leaves it."""
    return {}


def example_22(lab: Lab) -> Spent:
    """The device asks for its name."""
    lab.a.publish("particle/device/name")
    assert lab.a.wait_event("particle/device/name").data == lab.cloud.device(lab.a).name.encode()
    return {}


EXAMPLES = (
    example_1,
    example_2,
    example_3,
    example_4,
    example_6,
    example_7,
    example_8,
    example_9,
    example_11,
    example_12,
    example_13,
    example_20,
    example_21,
    example_22,
)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.__name__)
def test_worked_example(example: Callable[[Lab], Spent], lab: Lab) -> None:
    expected = example(lab)
    lab.cloud.operations.expect(expected)
    assert all(row.cause for row in lab.cloud.operations.rows())


@hasty
@pytest.mark.parametrize("example", [example_5, example_10], ids=lambda example: example.__name__)
def test_worked_example_of_a_silent_device(example: Callable[[Lab], Spent], lab: Lab) -> None:
    lab.cloud.operations.expect(example(lab))


@hasty
def test_attempts_are_rows_of_their_own_with_their_cause(lab: Lab) -> None:
    example_10(lab)
    causes = [row.cause for row in lab.cloud.operations.rows()]
    assert causes == ["call led", "call led, attempt 2", "call led, attempt 3"]
    assert {row.device_id for row in lab.cloud.operations.rows(device=lab.a)} == {lab.a.device_id}
    assert lab.cloud.operations.rows(device=lab.b) == []


def test_another_owners_devices_and_streams_hear_nothing(lab: Lab, boards: MakeBoard) -> None:
    stranger = boards("argon", "e00fce68000000000000000d", owner="eve")
    stranger.prefixes.append("t")
    bring_up(stranger, lab.cloud)
    stream = lab.cloud.core.bus.subscribe("eve", "t")
    lab.b.subscribe("t")
    position = len(stranger.inbox)
    lab.a.publish("t", b"secret")
    lab.b.wait_event("t")
    lab.cloud.publish("t/end", owner="eve")
    stranger.wait_event("t/end", position)
    names = [
        messages.parse_event(one).name
        for one in stranger.inbox.since(position)
        if messages.classify(one) is messages.Kind.EVENT
    ]
    assert names == ["t/end"]
    stream.close()
    assert lab.cloud.events.all("t", source=lab.a)[0].owner == "hil"


def test_two_matching_subscriptions_are_one_delivery(lab: Lab) -> None:
    lab.b.subscribe("gar")
    lab.b.subscribe("garden/")
    lab.a.publish("garden/x")
    lab.b.wait_event("garden/x")
    assert lab.cloud.operations.spent() == {"publish": 1, "subscribe": 1}


def test_system_events_of_one_device_do_not_reach_the_others(lab: Lab) -> None:
    position = len(lab.b.inbox)
    lab.b.subscribe("t")
    lab.a.publish("spark/device/reset", b"reboot")
    lab.a.publish("t")
    lab.b.wait_event("t", position)
    got = [one for one in lab.b.inbox.since(position) if messages.classify(one) is messages.Kind.EVENT]
    assert len(got) == 1


def charge(**changes: object) -> Charge:
    settings: dict[str, object] = {
        "action": Action.PUBLISH,
        "device_id": None,
        "owner": "hil",
        "cause": "test",
        "event_name": "t",
    }
    return Charge(**(settings | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("policy", "size", "version", "expected"),
    [
        (Policy(), 16384, 6300, 1),
        (Policy(size_rule=SizeRule.PER_BLOCK), 0, None, 1),
        (Policy(size_rule=SizeRule.PER_BLOCK), 1024, None, 1),
        (Policy(size_rule=SizeRule.PER_BLOCK), 1300, None, 2),  # example 14
        (Policy(size_rule=SizeRule.PER_BLOCK), 16384, None, 16),  # example 15
        (Policy(size_rule=SizeRule.PER_BLOCK), 20000, None, 16),
        (Policy(size_rule=SizeRule.BY_VERSION), 1300, 6200, 1),
        (Policy(size_rule=SizeRule.BY_VERSION), 1300, 6300, 2),
    ],
)
def test_size_rules(policy: Policy, size: int, version: int | None, expected: int) -> None:
    assert Tariff(policy).cost(charge(size=size, system_version=version)) == expected


@pytest.mark.parametrize(
    ("policy", "name", "expected"),
    [
        (Policy(), "spark/anything", 0),
        (Policy(), "particleboard", 0),
        (Policy(), "Particle/x", 0),
        (Policy(free_names_ignore_case=False), "Particle/x", 1),
        (Policy(bill_device_requests=True), "particle/device/name", 1),  # and 1 for the answer
        (Policy(bill_device_requests=True), "particle/device/updates/enabled", 0),
        (Policy(), "sparkles", 0),
        (Policy(), "my/spark", 1),
    ],
)
def test_free_names(policy: Policy, name: str, expected: int) -> None:
    assert Tariff(policy).cost(charge(event_name=name)) == expected


def test_a_closed_gate_drops_what_costs_and_lets_the_rest_through(lab: Lab) -> None:
    lab.cloud.core.feature(Billing).ledger.gate = lambda _charge: False
    lab.a.publish("t", b"x")
    lab.a.publish("spark/device/last_reset", b"user")
    lab.cloud.events.expect("spark/device/last_reset", source=lab.a)
    assert lab.cloud.events.all("t") == []
    assert lab.cloud.operations.spent() == {}
