"""Subscriptions of a device: from the cloud, from another device, by prefix, and never from another owner."""

from __future__ import annotations

from hil.testing import Board, Cloud, Operations


def test_an_event_published_at_the_cloud_reaches_the_board(
    board: Board, cloud: Cloud, operations: Operations, topic: str
) -> None:
    board.subscribe(f"{topic}/alarm/fire")
    cloud.publish(f"{topic}/alarm/fire", "kitchen")
    assert board.probe.wait_received(f"{topic}/alarm/fire", within=5).data == "kitchen"
    assert operations.spent(board) == {"subscribe": 1}


def test_an_event_of_one_board_reaches_another(
    board: Board, peer: Board, operations: Operations, topic: str
) -> None:
    board.subscribe(f"{topic}/door/open")
    peer.probe.publish(f"{topic}/door/open", "front")
    assert board.probe.wait_received(f"{topic}/door/open", within=5).data == "front"
    assert operations.spent(board) == {"subscribe": 1}
    assert operations.spent(peer) == {"publish": 1}


def test_a_board_hears_its_own_event(board: Board, operations: Operations, topic: str) -> None:
    board.subscribe(f"{topic}/echo/self")
    board.probe.publish(f"{topic}/echo/self", "hello")
    assert board.probe.wait_received(f"{topic}/echo/self", within=5).data == "hello"
    assert operations.spent(board) == {"publish": 1, "subscribe": 1}


def test_a_prefix_matches_from_the_start_and_in_its_own_case(
    board: Board, cloud: Cloud, operations: Operations, topic: str
) -> None:
    board.subscribe(f"{topic}/motion/")
    wanted = f"{topic}/motion/hall"
    for name in (wanted.replace("motion", "Motion"), f"a/{wanted}", f"{topic}/motion", wanted):
        cloud.publish(name, "x")
    board.probe.wait_received(wanted, within=5)
    assert [event.name for event in board.probe.received()] == [wanted]
    assert operations.spent(board) == {"subscribe": 1}


def test_two_matching_subscriptions_bring_one_message(
    board: Board, cloud: Cloud, operations: Operations, topic: str
) -> None:
    board.subscribe(f"{topic}/level/")
    board.subscribe(f"{topic}/level/high")
    cloud.publish(f"{topic}/level/high", "9")
    board.probe.wait_received(f"{topic}/level/high", within=5)
    assert operations.spent(board) == {"subscribe": 1}


def test_another_owners_events_are_not_delivered(
    board: Board, cloud: Cloud, operations: Operations, topic: str
) -> None:
    board.subscribe(f"{topic}/alarm/")
    cloud.publish(f"{topic}/alarm/stranger", "boo", owner="stranger")
    cloud.publish(f"{topic}/alarm/mine", "yes")
    assert board.probe.wait_received(f"{topic}/alarm/mine", within=5).data == "yes"
    assert [event.name for event in board.probe.received()] == [f"{topic}/alarm/mine"]
    assert operations.spent(board) == {"subscribe": 1}


def test_the_largest_event_for_the_board_arrives_whole(board: Board, cloud: Cloud, topic: str) -> None:
    data = "0123456789abcdef" * 38  # 608 bytes, within the limit of every board
    board.subscribe(f"{topic}/bulk/")
    cloud.publish(f"{topic}/bulk/data", data)
    assert board.probe.wait_received(f"{topic}/bulk/data", within=5).data == data
