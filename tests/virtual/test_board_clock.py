"""A virtual board on a clock that a test moves, alone and together with the project's own Device Cloud.

Figures: protocol fact sheet 1.5, 2.9 (keep-alive), 7 (back-off); cloud API fact sheet 2.3 (offline by silence).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from firmware.probe.twin import App as Probe
from hil.clock import MovableClock
from hil.cloud.config import CloudConfig
from hil.cloud.state.presence import ContactKind
from hil.cloud.sync.facade import DeviceCloud
from hil.device import keys
from hil.device.keys import ServerAddress
from hil.device.platforms import by_name
from hil.twin import Application
from hil.virtual.cloudclient.timing import Timing
from hil.virtual.hardware.scheduler import ThreadScheduler
from tests.clock.standing import standing_clock
from tests.virtual.cloudbench import Bench, device_key

MINUTE = 60.0
KEEP_ALIVE = {"electron": 23 * MINUTE, "boron": 23 * MINUTE, "argon": 25.0, "photon": 15.0}
WITHIN = 10.0


@contextmanager
def online(model: str) -> Iterator[tuple[MovableClock, DeviceCloud, Bench]]:
    """A board that is online at a cloud, both with the waits of real ones, on one clock that stands."""
    clock = standing_clock()
    with Bench(model, timing=Timing(), clock=clock) as bench:
        host = bench.server.host
        bench.server.close()
        config = CloudConfig(host=host, tcp_port=0, http_port=None, udp_port=0 if bench.profile.tcp else 5684)
        with DeviceCloud(config, clock) as cloud:
            own = cloud.server_keys
            bench.facts.server_der = own.rsa_public_der if bench.profile.tcp else own.ec_public_der
            bench.facts.address = ServerAddress(host, cloud.tcp_port)
            bench.factory = Probe
            cloud.register(
                bench.facts.device_id.hex(),
                platform_id=by_name(model).id,
                public_key=keys.public_der(device_key(model)),
            )
            bench.boot()
            bench.facts.wait_log("cloud connected")
            yield clock, cloud, bench
            bench.client.stop()


def heard(cloud: DeviceCloud, bench: Bench) -> int:
    return cloud.core.services.presence.heard(bench.facts.device_id.hex())


@pytest.mark.parametrize("model", KEEP_ALIVE)
def test_an_idle_board_pings_once_in_its_keep_alive_and_stays_online(model: str) -> None:
    with online(model) as (clock, cloud, bench):
        clock.advance(1.0)  # what was still on its way has been said
        said, mark = heard(cloud, bench), cloud.mark()
        clock.advance(KEEP_ALIVE[model] - 2.0)
        assert heard(cloud, bench) == said
        clock.advance(2.0)
        assert heard(cloud, bench) == said + 1
        clock.advance(9 * KEEP_ALIVE[model])
        assert heard(cloud, bench) == said + 10
        assert cloud.contacts(bench.facts.device_id.hex(), mark) == []


@pytest.mark.parametrize("model", ["electron", "argon"])
def test_a_board_that_loses_its_power_is_offline_by_silence(model: str) -> None:
    with online(model) as (clock, cloud, bench):
        board = bench.facts.device_id.hex()
        bench.client.stop()
        clock.advance(2 * KEEP_ALIVE[model] - 1.0)
        assert cloud.online(board)
        clock.advance(1.0)
        assert not cloud.online(board)
        assert cloud.contacts(board)[-1].kind is ContactKind.OFFLINE


def test_a_board_dials_a_silent_port_ever_more_rarely() -> None:
    """1 s after each of the first five attempts, 2 s after each of the next; to be refused takes no time."""
    clock = standing_clock()
    with Bench("photon", timing=Timing(), clock=clock) as bench:
        bench.server.close()
        bench.boot()
        bench.facts.wait_log("cloud connection down", 1)
        attempts = [len(bench.network.sockets)]
        for seconds in (4.0, 1.0, 2.0, 8.0):
            clock.advance(seconds)
            attempts.append(len(bench.network.sockets))
    assert attempts == [1, 5, 6, 7, 11]


def test_the_jobs_of_a_boards_thread_run_when_they_are_due_by_its_clock() -> None:
    clock = standing_clock()
    scheduler = ThreadScheduler("test", clock)
    began, seen = clock.monotonic(), []
    for delay in (300.0, 0.2, 60.0):
        scheduler.call_later(delay, lambda: seen.append(clock.monotonic() - began))
    clock.advance(60.0)
    assert seen == [pytest.approx(0.2), 60.0]
    clock.advance(240.0)
    assert seen[2:] == [300.0]
    scheduler.close()


class Gardener(Application):
    """Waters every ten minutes."""

    SYSTEM_THREAD = True

    def setup(self) -> None:
        self.watered: list[int] = []
        self.began = threading.Event()

    def loop(self) -> None:
        self.watered.append(self.os.millis())
        self.began.set()
        self.os.delay(600_000)


def test_an_application_that_waits_in_its_loop_wakes_at_every_one_of_its_times() -> None:
    clock = standing_clock()
    with Bench("argon", clock=clock) as bench:
        bench.factory = Gardener
        bench.boot(start=False)
        application = bench.app._application
        assert isinstance(application, Gardener)
        assert application.began.wait(WITHIN)
        first = application.watered[0]
        clock.advance(3600.0)
        assert application.watered == pytest.approx([first + 600_000 * number for number in range(7)], abs=1)
