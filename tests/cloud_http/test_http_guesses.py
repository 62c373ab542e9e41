"""Issue 6, point 5: guessing passwords (cloud API fact sheet 5: 10 wrong ones in a row, half an hour)."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import httpx
import pytest

from hil.clock import MovableClock
from hil.cloud.config import OWN_NETWORKS, CloudConfig
from hil.cloud.http.guesses import Guesses, TryLater
from hil.cloud.sync.facade import DeviceCloud
from hil.netlab import topology
from tests.clock.standing import standing_clock
from tests.cloud_http.live import Live

HALF_AN_HOUR = 30 * 60.0


@pytest.fixture
def clock() -> MovableClock:
    return standing_clock()


@pytest.fixture
def cloud(tmp_path: Path, clock: MovableClock, request: pytest.FixtureRequest) -> Iterator[DeviceCloud]:
    limits = getattr(request, "param", True)
    config = CloudConfig(state_dir=tmp_path, tcp_port=0, udp_port=0, limits=limits)
    with DeviceCloud(config, clock) as running:
        running.create_user("ada", "right")
        running.create_user("bob", "right")
        yield running


def log_in(cloud: DeviceCloud, name: str, password: str) -> httpx.Response:
    fields = {"grant_type": "password", "username": name, "password": password}
    return httpx.post(f"{cloud.url}/oauth/token", data=fields, trust_env=False, timeout=30)


def test_ten_wrong_passwords_block_for_half_an_hour(cloud: DeviceCloud, clock: MovableClock) -> None:
    token = log_in(cloud, "ada", "right").json()["access_token"]
    assert [log_in(cloud, "ada", "wrong").status_code for _ in range(11)] == [400] * 10 + [429]
    blocked = log_in(cloud, "ada", "right")
    assert (blocked.status_code, blocked.json()["error"]) == (429, "too_many_requests")
    assert "try again in 30 minutes" in blocked.json()["error_description"]
    assert blocked.headers["retry-after"] == "1800"
    basic = httpx.get(f"{cloud.url}/v1/access_tokens", auth=("ada", "right"), trust_env=False)
    assert basic.status_code == 429
    user = httpx.get(f"{cloud.url}/v1/user", params={"access_token": token}, trust_env=False)
    assert user.json()["username"] == "ada"
    clock.advance(HALF_AN_HOUR - 1)
    assert log_in(cloud, "ada", "right").status_code == 429
    clock.advance(1)
    assert log_in(cloud, "ada", "right").status_code == 200


def test_a_right_password_for_one_account_does_not_free_guesses_for_another(cloud: DeviceCloud) -> None:
    for _ in range(5):
        assert [log_in(cloud, "ada", "wrong").status_code for _ in range(2)] == [400, 400]
        assert log_in(cloud, "bob", "right").status_code == 200
    assert log_in(cloud, "ada", "right").status_code == 429


@pytest.mark.parametrize("cloud", [False], indirect=True)
def test_this_machine_may_guess_unless_the_limits_are_on(cloud: DeviceCloud) -> None:
    assert {log_in(cloud, "ada", "wrong").status_code for _ in range(12)} == {400}
    assert log_in(cloud, "ada", "right").status_code == 200


def guessed(guesses: Guesses, address: str, name: str, *, right: bool = False) -> bool:
    """Whether the guess was let in."""
    try:
        with guesses.guess(address, name) as guess:
            guess.right = right
    except TryLater:
        return False
    return True


def test_an_address_is_blocked_whomever_it_asks_for_and_a_user_not_for_everybody() -> None:
    guesses = Guesses(lambda: 0.0)
    assert all(guessed(guesses, "192.0.2.1", f"user{number}") for number in range(10))
    assert not guessed(guesses, "192.0.2.1", "ada")
    assert guessed(guesses, "192.0.2.2", "ada")


def test_ten_in_a_row_are_counted_and_a_right_one_ends_the_row() -> None:
    guesses = Guesses(lambda: 0.0)
    for _ in range(3):
        assert all(guessed(guesses, "192.0.2.1", "ada") for _ in range(9))
        assert guessed(guesses, "192.0.2.1", "ada", right=True)


def test_strangers_without_number_leave_a_bounded_memory() -> None:
    guesses = Guesses(lambda: 0.0)
    assert all(guessed(guesses, str(ip_address(number)), "x" * 10_000) for number in range(20_000))
    # The first of them has been forgotten, one of the last has not.
    assert all(guessed(guesses, "0.0.0.0", "x") for _ in range(10))
    last = str(ip_address(19_999))
    assert [guessed(guesses, last, "x") for _ in range(10)] == [True] * 9 + [False]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:10.77.1.2", "10.77.1.2", "198.18.0.1"])
def test_the_racks_own_networks_are_free(address: str) -> None:
    guesses = Guesses(lambda: 0.0, OWN_NETWORKS)
    assert all(guessed(guesses, address, "ada") for _ in range(20))
    assert not all(guessed(guesses, "192.0.2.1", "ada") for _ in range(20))


def test_the_own_networks_are_those_of_the_network_lab() -> None:
    own = [ip_network(network) for network in OWN_NETWORKS]
    assert ip_network(topology.BOARDS_NETWORK) in own
    assert any(ip_address(topology.CLOUD_ADDRESS) in network for network in own)


@pytest.mark.parametrize("name", ["ada@example.com", "hil", "nobody"])
def test_an_unknown_user_takes_as_long_and_nobody_waits_for_it(
    live: Live, anonymous: httpx.Client, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One hash for each attempt, whether the account exists, has a password or not, and not on the cloud's thread."""
    threads: list[str] = []
    real = hashlib.scrypt

    def counted(password: bytes, **settings: Any) -> bytes:
        threads.append(threading.current_thread().name)
        return real(password, **settings)

    monkeypatch.setattr(hashlib, "scrypt", counted)
    answer = anonymous.post("/oauth/token", data={"username": name, "password": "wrong"})
    assert answer.status_code == 400
    assert len(threads) == 1
    assert threads != [live.do(lambda: threading.current_thread().name)]
