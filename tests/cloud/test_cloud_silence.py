"""Offline is asked, not assumed (issue 6, point 9), on a clock that the test moves.

Figures: protocol fact sheet 2.9 and 10 (an Argon with ``Particle.keepAlive(60)``), cloud API fact sheet 2.3.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hil.clock import MovableClock
from hil.cloud.config import CloudConfig
from hil.cloud.session.silence import ENOUGH
from hil.cloud.state.presence import Contact, ContactKind
from hil.cloud.sync.facade import DeviceCloud
from hil.errors import DeviceTimeout, Refused
from hil.wire.coap.message import Message, decode, ping
from hil.wire.messages import Kind, classify
from tests.clock.standing import standing_clock
from tests.cloud.conftest import bring_up, dial, introduce
from tests.cloud.kits import KITS
from tests.cloud.scripted_board import PATIENCE, ScriptedBoard

OWN = 60.0  # seconds, what the application gives Particle.keepAlive()
USUAL = 25.0  # an Argon's
STEP = 5.0  # less than any question waits for its answer


@pytest.fixture
def clock() -> MovableClock:
    return standing_clock()


@pytest.fixture
def cloud(tmp_path: Path, clock: MovableClock) -> Iterator[DeviceCloud]:
    with DeviceCloud(CloudConfig(state_dir=tmp_path, tcp_port=0, udp_port=0, http_port=None), clock) as cloud:
        yield cloud


@pytest.fixture
def argon(cloud: DeviceCloud) -> Iterator[ScriptedBoard]:
    board = ScriptedBoard(KITS["argon"])
    introduce(board, cloud)
    bring_up(board, cloud)
    yield board
    board.power_off()


def questions(board: ScriptedBoard, position: int = 0) -> list[Message]:
    """The cloud's pings that the board got, each attempt."""
    return [one for one in board.inbox.since(position) if classify(one) is Kind.PING]


def pass_by(seconds: float, board: ScriptedBoard, cloud: DeviceCloud, clock: MovableClock) -> None:
    """Let time pass, in steps at whose end every question of the cloud is answered: a board answers in real time."""
    services = cloud.core.services

    def all_answered() -> bool:
        passed = services.traffic.of(board.device_id)
        kinds = [(one.upward, classify(decode(one.data))) for one in passed]
        return kinds.count((False, Kind.PING)) <= kinds.count((True, Kind.ACK))

    for _ in range(int(seconds / STEP)):
        clock.advance(STEP)
        assert services.presence.contacts.wait_until(all_answered, within=PATIENCE)


def departures(board: ScriptedBoard, cloud: DeviceCloud) -> list[Contact]:
    return [one for one in cloud.contacts(board) if one.kind is ContactKind.OFFLINE]


@pytest.mark.parametrize(("name", "usual"), [("argon", 25.0), ("electron", 1380.0), ("photon", 15.0)])
def test_a_quiet_device_is_asked_before_it_is_given_up(
    name: str, usual: float, cloud: DeviceCloud, clock: MovableClock
) -> None:
    """Issue 6, point 9: a device that was there was answered 404 when it was quiet for longer than usual."""
    board = ScriptedBoard(KITS[name])
    introduce(board, cloud)
    bring_up(board, cloud)
    pass_by(2 * usual + 10.0, board, cloud, clock)
    assert questions(board)
    assert cloud.online(board)
    assert cloud.call(board, "led", "on") == 2
    assert departures(board, cloud) == []
    board.power_off()


def idle(seconds: float, board: ScriptedBoard, cloud: DeviceCloud, clock: MovableClock) -> None:
    """The board pings when it has got nothing for a minute."""
    quiet = 0.0
    for _ in range(int(seconds / STEP)):
        before = len(board.inbox)
        pass_by(STEP, board, cloud, clock)
        quiet = quiet + STEP if len(board.inbox) == before else 0.0
        if quiet == OWN:
            board.ask(ping(board.next_mid()))
            quiet = 0.0


def test_the_keep_alive_of_a_device_is_learned_from_its_own_pings(
    argon: ScriptedBoard, cloud: DeviceCloud, clock: MovableClock
) -> None:
    """Issue 6, point 9: once known, it is neither asked nor given up between its pings."""
    idle(3 * ENOUGH * OWN, argon, cloud, clock)
    assert questions(argon)  # nobody knew
    before = len(argon.inbox)
    idle(10 * OWN, argon, cloud, clock)
    assert questions(argon, before) == []
    argon.ask(ping(argon.next_mid()))
    argon.deaf = True
    clock.advance(2 * OWN - 1.0)
    assert cloud.online(argon)
    clock.advance(1.0)
    assert [one.detail for one in departures(argon, cloud)] == ["silent for 120 s"]


@pytest.mark.parametrize("forgets", ["ping", "hello"])
def test_what_was_learned_is_unlearned(
    forgets: str, argon: ScriptedBoard, cloud: DeviceCloud, clock: MovableClock
) -> None:
    """A device that pings as its platform does again, or begins anew, is offline after twice that again."""
    idle(3 * ENOUGH * OWN, argon, cloud, clock)
    argon.ask(ping(argon.next_mid()))
    clock.advance(USUAL)
    argon.ask(ping(argon.next_mid()) if forgets == "ping" else argon.hello())
    argon.deaf = True
    clock.advance(2 * USUAL)
    assert [one.detail for one in departures(argon, cloud)] == ["silent for 50 s"]


def test_a_ping_that_was_lost_teaches_nothing(
    argon: ScriptedBoard, cloud: DeviceCloud, clock: MovableClock
) -> None:
    """Once in a while a device is heard late, and is as soon offline afterwards as ever."""
    for _ in range(5):
        pass_by(40.0, argon, cloud, clock)  # its ping was lost, and it answered the cloud's
        for _ in range(2):
            clock.advance(USUAL)
            argon.ask(ping(argon.next_mid()))
    argon.deaf = True
    clock.advance(2 * USUAL)
    assert [one.detail for one in departures(argon, cloud)] == ["silent for 50 s"]


def test_a_ping_that_comes_early_teaches_nothing(
    argon: ScriptedBoard, cloud: DeviceCloud, clock: MovableClock
) -> None:
    clock.advance(3.0)
    argon.ask(ping(argon.next_mid()))
    argon.deaf = True
    clock.advance(2 * USUAL - 1.0)
    assert cloud.online(argon)


def test_a_device_that_is_gone_is_asked_several_times_and_offline_in_time(
    argon: ScriptedBoard, cloud: DeviceCloud, clock: MovableClock
) -> None:
    """Issue 6, point 9: to ask takes none of the time after which a device counts as offline."""
    argon.deaf = True
    clock.advance(2 * USUAL)
    assert [one.detail for one in departures(argon, cloud)] == ["silent for 50 s"]
    asked = questions(argon)
    assert len(asked) in (2, 3)  # at 37.5 s, 4 to 6 s later, and perhaps 8 to 12 s after that
    assert len({one.mid for one in asked}) == 1


def test_a_keep_alive_that_is_told_outlives_the_cloud(tmp_path: Path, clock: MovableClock) -> None:
    """Issue 6, point 9: of one device, by rig file or API."""
    board = ScriptedBoard(KITS["argon"])
    settings = CloudConfig(state_dir=tmp_path, tcp_port=0, udp_port=0, http_port=None)
    with DeviceCloud(settings, clock) as cloud:
        introduce(board, cloud)
        bring_up(board, cloud)
        cloud.set_keep_alive(board, 300.0)
        before = len(board.inbox)
        clock.advance(299.0)
        assert questions(board, before) == []
        assert cloud.online(board)
        board.power_off()
    with DeviceCloud(settings, clock) as cloud:
        assert cloud.device(board).keep_alive == 300.0
        dial(board, cloud)
        bring_up(board, cloud)
        board.deaf = True
        clock.advance(599.0)
        assert cloud.online(board)
        clock.advance(1.0)
        assert not cloud.online(board)
        cloud.set_keep_alive(board, None)
        assert cloud.device(board).keep_alive is None
        board.power_off()


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf"), 1e308])
def test_what_is_no_keep_alive_is_refused(seconds: float, argon: ScriptedBoard, cloud: DeviceCloud) -> None:
    with pytest.raises(Refused, match="not a keep-alive"):
        cloud.set_keep_alive(argon, seconds)


def test_two_requests_to_a_vanished_device_both_end_in_time(
    argon: ScriptedBoard, cloud: DeviceCloud, clock: MovableClock
) -> None:
    """Issue 6, point 9: the second began to wait when the first had ended."""
    argon.deaf = True
    core = cloud.core

    async def both() -> list[object]:
        calls = (core.call(argon, "led", "on"), core.read(argon, "temp"))
        return list(await asyncio.gather(*calls, return_exceptions=True))

    with ThreadPoolExecutor() as threads:
        answers = threads.submit(cloud._background.run, both())
        assert argon.inbox.wait(lambda one: classify(one) is Kind.FUNCTION, within=PATIENCE)
        clock.advance(20.0)
        first, second = answers.result(PATIENCE)
    assert isinstance(first, DeviceTimeout)
    assert isinstance(second, DeviceTimeout)
    assert second.what == "Timed out: variable temp waited 20 s for the device's answer to another request"
    argon.deaf = False
    argon.ask(ping(argon.next_mid()))
    assert cloud.call(argon, "led", "on") == 2  # the place in the queue is free again
