"""Runs inside a virtual rack on a movable clock, started by ``test_in_virtual_rack.py``, with any suite's fixtures.

Figures: protocol fact sheet 1.5, 2.9 (keep-alive); cloud API fact sheet 2.3 (offline after twice that).
"""

from __future__ import annotations

import os
import time

import pytest

from hil.netlab import client, pcap
from hil.testing import Board, Clock, Cloud, Network

KEEP_ALIVE = 23 * 60.0  # of every cellular board


@pytest.mark.board("electron", "boron")
def test_a_cellular_board_pings_in_the_23rd_minute(
    board: Board, cloud: Cloud, network: Network, clock: Clock
) -> None:
    assert cloud.ping(board)
    clock.advance(seconds=1.0)  # what there still was to say is said
    mark = cloud.mark()
    with network.recording() as silence:
        clock.advance(seconds=KEEP_ALIVE - 10.0)
    with network.recording() as ping:
        clock.advance(seconds=20.0)
    assert silence.sent(udp=5684) == []
    assert len(ping.sent(udp=5684)) == 1
    assert len(ping.received(udp=5684)) == 1
    assert cloud.contacts(board, since=mark) == []


@pytest.mark.board("electron", "argon")
def test_a_board_behind_a_silent_firewall_is_offline_by_silence(
    board: Board, cloud: Cloud, network: Network, clock: Clock
) -> None:
    silence = 2 * (KEEP_ALIVE if board.platform.name == "electron" else 25.0)
    # What the cloud learned while hours went by in moments and pings came late does not count here.
    cloud.set_keep_alive(board, silence / 2)
    assert cloud.ping(board)
    mark = cloud.mark()
    network.block()
    clock.advance(seconds=silence - 10.0)
    assert cloud.online(board)
    clock.advance(seconds=20.0)
    assert not cloud.online(board)
    (left,) = cloud.contacts(board, since=mark)
    assert left.detail == f"silent for {silence:g} s"
    network.clear()
    clock.advance(minutes=10)  # longer than the longest pause between two attempts, with the attempt
    assert cloud.online(board)


@pytest.mark.board("electron")
def test_an_event_carries_the_time_of_the_clock(board: Board, cloud: Cloud, clock: Clock, topic: str) -> None:
    before = clock.time()
    clock.advance(hours=3)
    assert board.probe.publish(f"{topic}/later", "x")
    event = cloud.events.expect(f"{topic}/later", source=board)
    assert before + 3 * 3600.0 <= event.published_at <= clock.time()
    assert event.published_at > time.time() + 3600.0


@pytest.mark.board("argon")
def test_cloud_and_network_service_show_the_same_time(board: Board, cloud: Cloud, clock: Clock) -> None:
    with client.Network.connect(os.environ["HIL_NETWORK"]) as network:
        clock.advance(hours=1)
        shown = [clock.time(), cloud.mark().at, network.status()["time"], clock.time()]
        assert shown == sorted(shown)
        network.capture_start()
        assert cloud.ping(board)
        frames = pcap.read(network.capture_stop())
    stamps = [frame.time_ns / 1e9 for frame in frames]
    assert stamps
    assert shown[0] < min(stamps)
    assert max(stamps) < clock.time()
    assert [follower.split(" ")[0] for follower in clock.show().followers] == ["pytest"]
