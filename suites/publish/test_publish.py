"""Publishing from a device: with and without acknowledgement, empty, at the limit and past it, private names."""

from __future__ import annotations

import pytest

from hil.device.platforms import event_data_limit
from hil.testing import Board, Cloud, Operations


def test_a_publish_reaches_the_cloud_and_costs_one_operation(
    board: Board, cloud: Cloud, operations: Operations
) -> None:
    board.probe.publish("garden/temperature", "21.5")
    event = cloud.events.expect("garden/temperature", source=board, within=5)
    assert event.data == "21.5"
    assert event.private
    assert operations.spent() == {"publish": 1}


def test_with_ack_the_board_learns_that_the_cloud_has_it(
    board: Board, cloud: Cloud, operations: Operations
) -> None:
    number = board.probe.publish("garden/acknowledged", "1", flags="ack")
    assert board.probe.wait_published(number, within=10) == "ok"
    assert cloud.events.expect("garden/acknowledged", source=board).data == "1"
    assert operations.spent() == {"publish": 1}


def test_without_ack_it_arrives_all_the_same(board: Board, cloud: Cloud, operations: Operations) -> None:
    board.probe.publish("garden/unacknowledged", "2", flags="noack")
    assert cloud.events.expect("garden/unacknowledged", source=board, within=5).data == "2"
    assert operations.spent() == {"publish": 1}


def test_an_empty_event_has_no_data(board: Board, cloud: Cloud, operations: Operations) -> None:
    board.probe.publish("garden/empty")
    assert cloud.events.expect("garden/empty", source=board, within=5).data == ""
    assert operations.spent() == {"publish": 1}


def test_the_largest_event_arrives_whole_and_costs_one_operation(
    board: Board, cloud: Cloud, operations: Operations
) -> None:
    limit = event_data_limit(board.platform, board.device_os)
    data = "".join(chr(ord("a") + index % 26) for index in range(limit))
    board.probe.publish("garden/large", data)
    assert cloud.events.expect("garden/large", source=board, within=5).data == data
    assert operations.spent() == {"publish": 1}


def test_an_event_over_the_limit_is_refused_on_the_board(
    board: Board, cloud: Cloud, operations: Operations
) -> None:
    limit = event_data_limit(board.platform, board.device_os)
    number = board.probe.publish("garden/too-large", "x" * (limit + 1))
    assert board.probe.wait_published(number, within=5) == "refused"
    board.probe.publish("garden/marker")
    cloud.events.expect("garden/marker", source=board, within=5)
    assert cloud.events.all("garden/too-large", source=board) == []
    assert operations.spent() == {"publish": 1}


def test_a_name_of_64_characters_is_the_longest(board: Board, cloud: Cloud) -> None:
    longest = ("sensors/" + "n" * 64)[:64]
    number = board.probe.publish(longest + "x", "no")
    assert board.probe.wait_published(number, within=5) == "refused"
    board.probe.publish(longest, "yes")
    assert cloud.events.expect(longest, source=board, within=5).data == "yes"


def test_text_outside_ascii_survives(board: Board, cloud: Cloud) -> None:
    board.probe.publish("garden/text", "21 °C – très bien, 温度")
    assert cloud.events.expect("garden/text", source=board, within=5).data == "21 °C – très bien, 温度"


def test_the_time_to_live_travels_with_the_event(board: Board, cloud: Cloud) -> None:
    board.probe.publish("garden/ttl", "x", ttl=3600)
    assert cloud.events.expect("garden/ttl", source=board, within=5).ttl == 3600


@pytest.mark.board("photon", "argon")
def test_the_fifth_event_within_a_second_is_refused_on_the_board(
    board: Board, cloud: Cloud, operations: Operations
) -> None:
    board.restart()  # it forgets what was published before
    numbers = [board.probe.publish("garden/burst", str(index), pace=False) for index in range(5)]
    states = [board.probe.wait_published(number, within=10) for number in numbers]
    assert states == ["ok", "ok", "ok", "ok", "refused"]
    cloud.events.expect("garden/burst", data="3", source=board)  # to a TCP board "ok" is no more than sent
    assert operations.spent() == {"publish": 4}
