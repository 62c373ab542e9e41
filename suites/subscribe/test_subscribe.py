"""Subscriptions of a device: from the cloud, from another device, by prefix, and never from another owner."""

from __future__ import annotations


def test_an_event_published_at_the_cloud_reaches_the_board(board, cloud, operations):
    board.probe.subscribe("alarm/fire")
    cloud.publish("alarm/fire", "kitchen")
    assert board.probe.wait_received("alarm/fire", within=5).data == "kitchen"
    assert operations.spent(board) == {"subscribe": 1}


def test_an_event_of_one_board_reaches_another(board, peer, operations):
    board.probe.subscribe("door/open")
    peer.probe.publish("door/open", "front")
    assert board.probe.wait_received("door/open", within=5).data == "front"
    assert operations.spent(board) == {"subscribe": 1}
    assert operations.spent(peer) == {"publish": 1}


def test_a_board_hears_its_own_event(board, operations):
    board.probe.subscribe("echo/self")
    board.probe.publish("echo/self", "hello")
    assert board.probe.wait_received("echo/self", within=5).data == "hello"
    assert operations.spent(board) == {"publish": 1, "subscribe": 1}


def test_a_prefix_matches_from_the_start_and_in_its_own_case(board, cloud, operations):
    board.probe.subscribe("motion/")
    for name in ("Motion/hall", "a/motion/hall", "motion", "motion/hall"):
        cloud.publish(name, name)
    assert board.probe.wait_received("motion/hall", within=5).data == "motion/hall"
    assert [event.name for event in board.probe.received()] == ["motion/hall"]
    assert operations.spent(board) == {"subscribe": 1}


def test_two_matching_subscriptions_bring_one_message(board, cloud, operations):
    board.probe.subscribe("level/")
    board.probe.subscribe("level/high")
    cloud.publish("level/high", "9")
    board.probe.wait_received("level/high", within=5)
    assert operations.spent(board) == {"subscribe": 1}


def test_another_owners_events_are_not_delivered(board, cloud, operations):
    board.probe.subscribe("alarm/")
    cloud.publish("alarm/stranger", "boo", owner="stranger")
    cloud.publish("alarm/mine", "yes")
    assert board.probe.wait_received("alarm/mine", within=5).data == "yes"
    assert [event.name for event in board.probe.received()] == ["alarm/mine"]
    assert operations.spent(board) == {"subscribe": 1}


def test_the_largest_event_for_the_board_arrives_whole(board, cloud):
    data = "0123456789abcdef" * 38  # 608 bytes, within the limit of every board
    board.probe.subscribe("bulk/")
    cloud.publish("bulk/data", data)
    assert board.probe.wait_received("bulk/data", within=5).data == data
