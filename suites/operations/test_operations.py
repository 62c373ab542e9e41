"""What counts as a Data Operation and what does not: the rules of the introduction page that these boards can show.

The publish, subscribe, function, variable and OTA suites check their own counts too.
"""

from __future__ import annotations

from hil.testing import Board, Cloud, Operations


def test_each_kind_counts_once_whatever_its_size(
    board: Board, cloud: Cloud, operations: Operations, topic: str
) -> None:
    board.subscribe(f"{topic}/count/")
    board.probe.publish("tally/one", "x" * 500)
    cloud.events.expect("tally/one", source=board, within=5)
    cloud.publish(f"{topic}/count/one", "y" * 500)
    board.probe.wait_received(f"{topic}/count/one", within=5)
    cloud.call(board, "probe_echo", "z" * 500)
    cloud.read(board, "probe_string")
    assert operations.spent(board) == {"publish": 1, "subscribe": 1, "function": 1, "variable": 1}


def test_connecting_costs_nothing(board: Board, operations: Operations) -> None:
    board.restart()
    assert operations.spent() == {}


def test_leaving_and_coming_back_costs_nothing(board: Board, operations: Operations) -> None:
    board.reconnect()
    assert operations.spent() == {}


def test_keep_alives_time_and_signals_cost_nothing(
    board: Board, cloud: Cloud, operations: Operations
) -> None:
    assert cloud.ping(board)
    cloud.signal(board, True)
    cloud.signal(board, False)
    cloud.describe(board)
    assert operations.spent() == {}


def test_system_events_cost_nothing(board: Board, cloud: Cloud, operations: Operations) -> None:
    board.restart()
    assert cloud.events.expect("particle/device/updates/enabled", source=board, within=10).data == "true"
    assert operations.spent() == {}


def test_an_event_nobody_subscribed_to_costs_only_its_publish(
    board: Board, cloud: Cloud, operations: Operations
) -> None:
    board.probe.publish("lonely/event", "1")
    cloud.events.expect("lonely/event", source=board, within=5)
    assert operations.spent() == {"publish": 1}


def test_every_subscribed_device_costs_one(
    board: Board, peer: Board, operations: Operations, topic: str
) -> None:
    board.subscribe(f"{topic}/party/")
    peer.subscribe(f"{topic}/party/")
    board.probe.publish(f"{topic}/party/start", "now")
    board.probe.wait_received(f"{topic}/party/start", within=5)
    peer.probe.wait_received(f"{topic}/party/start", within=5)
    assert operations.spent() == {"publish": 1, "subscribe": 2}


def test_a_subscriber_that_is_offline_costs_nothing(
    board: Board, peer: Board, cloud: Cloud, operations: Operations, topic: str
) -> None:
    board.subscribe(f"{topic}/nobody/")
    board.disconnect()
    peer.probe.publish(f"{topic}/nobody/home", "1")
    cloud.events.expect(f"{topic}/nobody/home", source=peer, within=5)
    assert operations.spent() == {"publish": 1}


def test_the_cloud_publishing_to_nobody_costs_nothing(
    board: Board, cloud: Cloud, operations: Operations
) -> None:
    cloud.publish("void/event", "1")
    assert cloud.call(board, "probe_echo", "") == 0  # something later, so that the event is behind us
    assert operations.spent() == {"function": 1}


def test_every_row_says_what_caused_it(board: Board, operations: Operations, cloud: Cloud) -> None:
    board.probe.publish("cause/known", "1")
    cloud.events.expect("cause/known", source=board, within=5)
    (row,) = operations.rows()
    assert row.device_id == board.device_id
    assert row.kind == "publish"
    assert "cause/known" in row.cause
