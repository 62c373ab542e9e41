"""The cloud on a clock that a test moves: silence, attempts, tokens and times, with figures of days in moments.

Figures: cloud API fact sheet 2.1 (tokens), 2.3 (offline), 4.1 (attempts); protocol fact sheet 1.2, 2.9.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from hil.clock import MovableClock
from hil.cloud.config import CloudConfig
from hil.cloud.sync.facade import DeviceCloud
from hil.errors import DeviceTimeout
from hil.wire.coap.message import decode, encode
from hil.wire.messages import Kind, classify
from tests.clock.standing import EPOCH, standing_clock
from tests.cloud.conftest import bring_up, introduce
from tests.cloud.kits import KITS
from tests.cloud.scripted_board import PATIENCE, ScriptedBoard

DAY = 86_400.0


@pytest.fixture
def clock() -> MovableClock:
    return standing_clock()


@pytest.fixture
def cloud(tmp_path: Path, clock: MovableClock) -> Iterator[DeviceCloud]:
    """A cloud with the waits of a real one."""
    with DeviceCloud(CloudConfig(state_dir=tmp_path, tcp_port=0, udp_port=0), clock) as cloud:
        yield cloud


def board_of(name: str, cloud: DeviceCloud) -> ScriptedBoard:
    board = ScriptedBoard(KITS[name])
    introduce(board, cloud)
    return bring_up(board, cloud)


@pytest.mark.parametrize(
    ("name", "keep_alive"), [("electron", 23 * 60.0), ("boron", 23 * 60.0), ("argon", 25.0), ("photon", 15.0)]
)
def test_silence_of_twice_the_platforms_own_keep_alive_means_offline(
    name: str, keep_alive: float, cloud: DeviceCloud, clock: MovableClock
) -> None:
    board = board_of(name, cloud)
    board.deaf = True
    clock.advance(2 * keep_alive - 1.0)
    assert cloud.online(board)
    clock.advance(1.0)
    assert not cloud.online(board)
    last = cloud.contacts(board)[-1]
    assert (last.detail, last.at) == (f"silent for {2 * keep_alive:g} s", EPOCH + 2 * keep_alive)
    board.power_off()


def test_a_sign_of_life_starts_the_silence_anew(cloud: DeviceCloud, clock: MovableClock) -> None:
    board = board_of("electron", cloud)
    board.deaf = True
    clock.advance(2000.0)
    board.publish("alive", b"")
    cloud.events.expect("alive")
    clock.advance(2000.0)
    assert cloud.online(board)
    clock.advance(760.0)
    assert not cloud.online(board)
    board.power_off()


def test_an_access_token_ends_after_90_days(cloud: DeviceCloud, clock: MovableClock) -> None:
    cloud.create_user("ada", "secret")
    form = {"grant_type": "password", "username": "ada", "password": "secret"}
    answer = httpx.post(f"{cloud.url}/oauth/token", data=form, auth=("particle", "particle")).json()
    assert answer["expires_in"] == 7_776_000
    headers = {"Authorization": f"Bearer {answer['access_token']}"}
    clock.advance(90 * DAY - 1.0)
    assert httpx.get(f"{cloud.url}/v1/user", headers=headers).status_code == 200
    clock.advance(1.0)
    ended = httpx.get(f"{cloud.url}/v1/user", headers=headers)
    assert (ended.status_code, ended.json()["error"]) == (401, "expired_token")


def test_a_refresh_token_is_good_for_14_days(cloud: DeviceCloud, clock: MovableClock) -> None:
    cloud.create_user("ada", "secret")
    users = cloud.core.users
    early, late = users.issue_token("ada"), users.issue_token("ada")
    clock.advance(14 * DAY)
    assert users.refresh(early.refresh_token) is not None
    clock.advance(1.0)
    assert users.refresh(late.refresh_token) is None


def test_stored_times_are_the_clocks(cloud: DeviceCloud, clock: MovableClock) -> None:
    board = board_of("argon", cloud)
    clock.advance(30 * DAY)
    cloud.publish("later")
    assert cloud.events.expect("later").published_at == EPOCH + 30 * DAY
    mark = cloud.mark()
    assert mark.at == EPOCH + 30 * DAY
    board.publish("mine", b"")
    cloud.events.expect("mine")
    assert cloud.operations.rows(mark)[0].at == EPOCH + 30 * DAY
    assert cloud.device(board).last_heard == EPOCH + 30 * DAY
    board.power_off()


def test_an_answer_that_does_not_come_is_waited_for_by_the_clock(
    cloud: DeviceCloud, clock: MovableClock
) -> None:
    """Three attempts, each twice as long after the one before: 4 to 6 s, 8 to 12 s, then given up; 20 s in all."""
    board = board_of("electron", cloud)
    board.deaf = True
    mark = cloud.mark()
    with ThreadPoolExecutor() as threads:
        call = threads.submit(cloud.call, board, "led", "on")
        assert board.inbox.wait(lambda one: classify(one) is Kind.FUNCTION, within=PATIENCE)
        clock.advance(3.9)
        assert [row.cause for row in cloud.operations.rows(mark)] == ["call led"]
        clock.advance(16.1)
        with pytest.raises(DeviceTimeout):
            call.result(PATIENCE)
    assert [row.cause for row in cloud.operations.rows(mark)] == [
        "call led",
        "call led, attempt 2",
        "call led, attempt 3",
    ]
    board.power_off()


def test_a_tcp_connection_that_says_nothing_is_broken_after_20_seconds(
    cloud: DeviceCloud, clock: MovableClock
) -> None:
    with socket.create_connection(("127.0.0.1", cloud.tcp_port)) as quiet:
        quiet.settimeout(PATIENCE)
        assert quiet.recv(64)  # the nonce: the cloud waits from here on
        clock.advance(19.0)
        quiet.setblocking(False)
        with pytest.raises(BlockingIOError):
            quiet.recv(64)
        clock.advance(1.0)
        quiet.settimeout(PATIENCE)
        assert quiet.recv(64) == b""


def test_a_device_is_told_the_clocks_time_and_a_repeated_request_the_time_of_its_answer(
    cloud: DeviceCloud, clock: MovableClock
) -> None:
    board = board_of("argon", cloud)
    request = decode(bytes.fromhex("41012006" + "07" + "b174"))
    assert encode(board.ask(request)).hex() == "6145200607ff6553f100"
    clock.advance(5.0)
    assert encode(board.ask(request)).hex() == "6145200607ff6553f105"
    assert classify(request) is Kind.TIME
    board.power_off()
