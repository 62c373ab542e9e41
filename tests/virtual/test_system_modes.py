"""When ``setup()`` and ``loop()`` run, and what the cloud hears of them: Device OS's system modes and system thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from hil.cloud.sync.facade import DeviceCloud
from hil.errors import DeviceTimeout
from hil.twin import Application, PublishState, SystemMode
from hil.virtual.app.apps import ApplicationHost
from hil.virtual.app.thread import ApplicationFault
from hil.wire.messages import Kind, classify
from tests.virtual.cloudbench import BOARDS, Bench
from tests.virtual.scripted_server import WITHIN
from tests.virtual.test_apps import FakeCloud, Threaded, facts
from tests.virtual.test_cloud_client_real_cloud import cloud_and_board


class Greenhouse(Application):
    """An application as the documentation of the default mode has it: it publishes in ``setup()``."""

    def setup(self) -> None:
        self.liters = 0
        self.os.function("water", self.water)
        self.os.variable("liters", int, lambda: self.liters)
        self.os.variable("ratio", float, lambda: 2)
        self.os.publish("garden/ready", str(self.os.boots))

    def water(self, argument: str) -> int:
        self.liters += int(argument)
        return self.liters


@pytest.mark.parametrize("model", BOARDS)
def test_setup_may_publish_and_is_described(model: str) -> None:
    with cloud_and_board(model) as (cloud, bench):
        bench.factory = Greenhouse
        board = bench.facts.device_id.hex()
        bench.boot(wait_for_setup=False)
        cloud.wait_online(board, within=10)
        assert cloud.call(board, "water", "3") == 3
        assert (cloud.read(board, "liters"), cloud.read(board, "ratio")) == (3, 2.0)
        assert cloud.events.expect("garden/ready", data="1", source=board)


@pytest.mark.parametrize("model", ["argon", "boron"])
def test_a_resumed_session_does_not_overtake_setup(model: str) -> None:
    """The cloud knows the functions from before the reset and calls at once; the board has yet to register them."""
    with cloud_and_board(model) as (cloud, bench):
        bench.factory = Greenhouse
        board = bench.facts.device_id.hex()
        for start in range(3):
            since = cloud.mark()
            bench.boot(wait_for_setup=False)
            cloud.wait_online(board, within=10, since=since)
            assert cloud.call(board, "water", str(start)) == start
            bench.reset(goodbye="reset")


@pytest.fixture
def online() -> Iterator[tuple[DeviceCloud, Bench]]:
    with cloud_and_board("argon") as both:
        yield both


def test_what_a_handler_raises_is_said_and_harms_nobody_else(online: tuple[DeviceCloud, Bench]) -> None:
    cloud, bench = online

    class App(Greenhouse):
        def setup(self) -> None:
            self.os.function("forgets", self.forgets)
            self.os.variable("count", int, lambda: "many")
            super().setup()

        def forgets(self, argument: str) -> int:
            del argument
            return None  # type: ignore[return-value]

    bench.factory = App
    board = bench.facts.device_id.hex()
    bench.boot(wait_for_setup=False)
    cloud.wait_online(board, within=10)
    since = cloud.mark()
    for failing in ("forgets", "water"):
        with pytest.raises(DeviceTimeout):
            cloud.call(board, failing, "x", timeout=0.3)
    with pytest.raises(DeviceTimeout):
        cloud.read(board, "count", timeout=0.3)
    assert cloud.call(board, "water", "2") == 2
    assert [contact for contact in cloud.contacts(board, since) if contact.is_arrival] == []
    said = bench.facts.serial.decode().splitlines()
    assert [line.partition(": ")[2].partition(" (")[0] for line in said] == [
        "bench failed in function forgets: TypeError: a function returns an int, not None",
        "bench failed in function water: ValueError: invalid literal for int() with base 10: 'x'",
        "bench failed in variable count: ValueError: invalid literal for int() with base 10: 'many'",
    ]


@pytest.mark.parametrize("mode", [SystemMode.SEMI_AUTOMATIC, "manual"])
def test_in_other_modes_the_application_decides_when_to_connect(mode: str) -> None:
    gate, tried = threading.Event(), threading.Event()

    class App(Application):
        SYSTEM_MODE = mode

        def setup(self) -> None:
            early = self.os.publish("early")
            assert early.state is PublishState.REFUSED
            tried.set()

        def loop(self) -> None:
            if gate.is_set():
                gate.clear()
                self.os.connect()

    with Bench("argon") as bench:
        bench.factory = App
        bench.boot(wait_for_setup=False, start=False)
        bench.client.start(bench.app.wants_cloud)
        assert tried.wait(WITHIN)
        assert not bench.app.wants_cloud
        gate.set()
        assert classify(bench.server.receive()) is Kind.HELLO
        assert bench.app.wants_cloud


def test_connect_in_setup_takes_effect_when_setup_waits_or_ends() -> None:
    cloud = FakeCloud()
    asked: list[list[str]] = []

    class App(Application):
        SYSTEM_MODE = SystemMode.SEMI_AUTOMATIC

        def setup(self) -> None:
            self.os.connect()
            self.os.function("late", len)
            asked.append(list(cloud.asked))

    host = ApplicationHost(facts(), App, None)
    host.bind_cloud(cloud)
    host.start()
    assert host.setup_done.wait(WITHIN)
    assert cloud.ready.wait(WITHIN)
    host.stop()
    assert asked == [[]]
    assert cloud.asked == ["connect", "ready"]


def test_in_manual_mode_calls_wait_for_process_and_requests_do_not() -> None:
    go = threading.Event()

    class App(Application):
        SYSTEM_MODE = SystemMode.MANUAL
        SYSTEM_THREAD = True

        def setup(self) -> None:
            self.os.function("f", len)

        def loop(self) -> None:
            if go.is_set():
                self.os.process()

        def control_request(self, payload: bytes) -> tuple[int, bytes]:
            return 0, payload

    host = ApplicationHost(facts(), App, None)
    host.start()
    assert host.setup_done.wait(WITHIN)
    called = host.call("f", b"xyz")
    for _ in range(3):  # each after a loop of its own
        assert host.control_request(b"now").result(WITHIN) == (0, b"now")
    assert not called.done()
    go.set()
    assert called.result(WITHIN) == 3
    host.stop()


def test_loop_and_calls_take_turns_however_many_come() -> None:
    turns = threading.Semaphore(0)

    class App(Threaded):
        def setup(self) -> None:
            self.os.function("again", self.again)

        def loop(self) -> None:
            turns.release()

        def again(self, argument: str) -> int:
            host.call("again", argument.encode())  # there is always one waiting
            return 0

    host = ApplicationHost(facts(), App, None)
    host.start()
    assert host.setup_done.wait(WITHIN)
    host.call("again", b"")
    for _ in range(20):
        assert turns.acquire(timeout=WITHIN)
    host.stop()
    assert not host.running


def test_a_loop_that_returns_at_once_does_not_spin() -> None:
    turns: list[int] = []

    class App(Threaded):
        def loop(self) -> None:
            turns.append(self.os.millis())
            if len(turns) == 20:
                done.set()

    done = threading.Event()
    host = ApplicationHost(facts(), App, None)
    host.start()
    assert done.wait(WITHIN)
    host.stop()
    assert turns[19] - turns[0] >= 19 * 9  # 10 ms each, cut to whole milliseconds


def test_delay_lets_calls_in_and_a_reset_ends_it() -> None:
    entered = threading.Event()

    class App(Threaded):
        def setup(self) -> None:
            self.os.function("f", len)

        def loop(self) -> None:
            entered.set()
            self.os.delay(3_600_000)

    host = ApplicationHost(facts(), App, None)
    host.start()
    assert entered.wait(WITHIN)
    assert host.call("f", b"abcd").result(WITHIN) == 4
    host.stop()
    assert not host.running


def test_delay_within_a_handler_lets_nothing_in() -> None:
    class App(Threaded):
        def setup(self) -> None:
            self.order: list[str] = []
            self.os.function("f", self.slow)

        def slow(self, argument: str) -> int:
            self.order.append(f"{argument} in")
            self.os.delay(20)
            self.order.append(f"{argument} out")
            return len(self.order)

    host = ApplicationHost(facts(), App, None)
    host.start()
    first, second = host.call("f", b"1"), host.call("f", b"2")
    assert (first.result(WITHIN), second.result(WITHIN)) == (2, 4)
    host.stop()


def test_a_failing_loop_says_so_with_its_place_and_goes_on() -> None:
    machine = facts()
    again = threading.Semaphore(0)

    class App(Threaded):
        def loop(self) -> None:
            again.release()
            raise ValueError("dry")

    host = ApplicationHost(machine, App, None)
    host.start()
    for _ in range(5):
        assert again.acquire(timeout=WITHIN)
    host.stop()
    said = machine.serial.decode().splitlines()
    assert said[0].startswith("hil: application failed in loop(): ValueError: dry (")
    assert len(said) < 5  # not once a turn


def test_a_failing_setup_is_said_to_whoever_opens_the_port_later() -> None:
    machine = facts()

    class App(Threaded):
        def setup(self) -> None:
            raise KeyError("pump")

    host = ApplicationHost(machine, App, None)
    host.start()
    assert host.setup_done.wait(WITHIN)
    host.stop()
    assert [line.partition(" (")[0] for line in machine.notices] == [
        "hil: application failed in setup(): KeyError: 'pump'"
    ]


def test_what_the_host_types_before_setup_waits_for_it() -> None:
    class App(Application):
        def setup(self) -> None:
            self.typed = b"setup "

        def serial_received(self, data: bytes) -> None:
            self.typed += data

        def control_request(self, payload: bytes) -> tuple[int, bytes]:
            return 0, payload + getattr(self, "typed", b"too early")

    host = ApplicationHost(facts(), App, None)
    host.bind_cloud(FakeCloud())
    host.start()
    host.serial_received(b"one ")
    assert host.control_request(b"").result(WITHIN) == (0, b"too early")
    host.cloud_connected()
    host.serial_received(b"two")
    assert host.setup_done.wait(WITHIN)
    assert host.control_request(b"").result(WITHIN) == (0, b"setup one two")
    host.stop()


def test_a_reset_before_the_first_connection_ends_the_wait() -> None:
    host = ApplicationHost(facts(), Greenhouse, None)
    host.bind_cloud(FakeCloud())
    host.start()
    waiting = host.call("water", b"1")
    host.stop()
    assert not host.running
    with pytest.raises(ApplicationFault, match="has ended"):
        waiting.result(WITHIN)
