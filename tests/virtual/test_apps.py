"""The thread an application lives on, and what it registers."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from functools import partial

import pytest

from hil.device.platforms import by_name
from hil.virtual.app.apps import (
    ApplicationHost,
    ApplicationImage,
    Subscription,
)
from hil.virtual.app.thread import ApplicationFault, Unregistered
from hil.virtual.app.wiring import AckMode, Application, Publication, PublishState, Wiring
from hil.wire.messages import VariableType
from tests.virtual.cloudbench import FakeFacts
from tests.virtual.scripted_server import WITHIN


def facts() -> FakeFacts:
    return FakeFacts(by_name("argon"), "6.2.0", bytes(12), None, None, None)


class Threaded(Application):
    """``setup()`` does not wait for a connection."""

    SYSTEM_THREAD = True


class Quiet(Threaded):
    """Does nothing; the tests use ``os``."""


class FakeCloud:
    """Remembers what the application asked for."""

    connected = False

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.ready = threading.Event()

    def connect(self) -> None:
        self.asked.append("connect")

    def disconnect(self) -> None:
        self.asked.append("disconnect")

    def publish(self, name: str, data: bytes, *, ttl: int, ack: AckMode) -> Publication:
        self.asked.append(f"publish {name} {data!r} {ttl} {ack}")
        return Publication(PublishState.OK)

    def subscribed(self, subscription: Subscription) -> None:
        self.asked.append(f"subscribed {subscription.serial} {subscription.prefix}")

    def unsubscribed(self) -> None:
        self.asked.append("unsubscribed")

    def application_ready(self) -> None:
        self.asked.append("ready")
        self.ready.set()


def host(factory: type[Application] = Quiet, *, image: ApplicationImage | None = None) -> ApplicationHost:
    return ApplicationHost(facts(), factory, image)


def test_setup_runs_on_the_thread_of_everything_else() -> None:
    threads: list[int] = []

    class App(Threaded):
        def setup(self) -> None:
            threads.append(threading.get_ident())
            self.os.function("f", self.f)

        def f(self, argument: str) -> int:
            threads.append(threading.get_ident())
            return len(argument)

    running = host(App)
    cloud = FakeCloud()
    running.bind_cloud(cloud)
    running.start()
    assert running.setup_done.wait(WITHIN)
    result = running.call("f", "ü".encode())
    assert result.result(WITHIN) == 1
    assert threads[0] == threads[1] != threading.get_ident()
    running.stop()
    assert cloud.asked == ["ready"]


def test_setup_that_fails_is_logged_and_the_board_goes_on() -> None:
    class App(Threaded):
        def setup(self) -> None:
            self.os.variable("v", VariableType.INT, lambda: 7)
            raise KeyError("lost")

    running = host(App)
    running.start()
    assert running.setup_done.wait(WITHIN)
    assert running.read("v").result(WITHIN) == (VariableType.INT, 7)
    running.stop()
    assert any("KeyError" in line for line in running._facts.lines)  # type: ignore[attr-defined]


def test_faults_of_the_application_reach_who_asked_and_nobody_else() -> None:
    class App(Threaded):
        def control_request(self, payload: bytes) -> tuple[int, bytes]:
            if payload == b"bad":
                raise ValueError(payload)
            return 0, payload

    running = host(App)
    running.start()
    with pytest.raises(ApplicationFault, match="bad"):
        running.control_request(b"bad").result(WITHIN)
    assert running.control_request(b"good").result(WITHIN) == (0, b"good")
    running.stop()


def test_a_request_given_up_is_done_all_the_same_and_harms_nothing() -> None:
    gate, done = threading.Event(), threading.Event()

    class App(Threaded):
        def setup(self) -> None:
            assert gate.wait(WITHIN)

        def serial_received(self, data: bytes) -> None:
            assert data == b"x"
            done.set()

        def control_request(self, payload: bytes) -> tuple[int, bytes]:
            self.os.write(payload)
            return 0, b""

    running = host(App)
    running.start()
    given_up = running.control_request(b"written")
    assert given_up.cancel()
    running.serial_received(b"x")
    gate.set()
    assert done.wait(WITHIN)
    running.stop()
    assert running._facts.serial == b"written"  # type: ignore[attr-defined]


def test_stop_ends_the_thread_and_fails_what_waits() -> None:
    entered, gate = threading.Event(), threading.Event()

    class App(Threaded):
        def control_request(self, payload: bytes) -> tuple[int, bytes]:
            entered.set()
            assert gate.wait(WITHIN)
            return 0, payload

    running = host(App)
    running.start()
    first = running.control_request(b"1")
    assert entered.wait(WITHIN)
    waiting: Future[tuple[int, bytes]] = running.control_request(b"2")
    stopper = threading.Thread(target=running.stop)
    stopper.start()
    with pytest.raises(ApplicationFault, match="has ended"):
        waiting.result(WITHIN)
    gate.set()
    stopper.join(WITHIN)
    assert first.result(WITHIN) == (0, b"1")
    with pytest.raises(ApplicationFault, match="has ended"):
        running.control_request(b"3").result(WITHIN)
    assert not running.running
    running.stop()


def test_without_an_application() -> None:
    running = ApplicationHost(facts(), None, None)
    running.start()
    assert not running.present
    assert running.setup_done.is_set()
    assert running.control_request(b"{}").result(0) == (-120, b"")
    assert running.describe().to_json() == b'{"f":[],"v":{}}'
    with pytest.raises(Unregistered):
        running.call("f", b"").result(WITHIN)
    running.serial_received(b"x")
    running.deliver("event", b"")
    running.stop()


def test_what_the_application_asks_of_the_cloud() -> None:
    running = host()
    cloud = FakeCloud()
    os: Wiring = running
    assert os.publish("early", b"").state is PublishState.REFUSED
    os.connect()
    assert not os.connected
    running.bind_cloud(cloud)
    os.connect()
    os.disconnect()
    os.publish("n", b"d", ttl=5, ack=AckMode.NO_ACK)
    assert [os.subscribe(f"p{number}", lambda _name, _data: None) for number in range(5)] == [True] * 4 + [
        False
    ]
    os.unsubscribe()
    assert os.subscribe("again", lambda _name, _data: None)
    assert cloud.asked == [
        "connect",
        "disconnect",
        "publish n b'd' 5 noack",
        "subscribed 1 p0",
        "subscribed 2 p1",
        "subscribed 3 p2",
        "subscribed 4 p3",
        "unsubscribed",
        "subscribed 5 again",
    ]


def test_what_the_application_asks_of_the_machine() -> None:
    running = host(image=ApplicationImage("quiet", 3, "0123456789abcdef"))
    os: Wiring = running
    machine: FakeFacts = running._facts  # type: ignore[assignment]
    assert (os.version, os.build, os.device_os, os.boots) == (3, "0123456789abcdef", "6.2.0", 1)
    machine.backup["boots"] = b"4"
    assert os.boots == 4
    os.write(b"hello")
    os.reset()
    os.enter_safe_mode()
    os.sleep(2.5)
    assert machine.serial == b"hello"
    assert machine.resets == [("user", "normal"), ("safe_mode", "safe")]
    assert machine.sleeps == [2.5]
    assert os.millis() >= 0


def test_names_have_a_limit_and_a_second_registration_replaces_the_first() -> None:
    running = host()
    assert running.function("f" * 64, lambda _argument: 1)
    assert not running.function("f" * 65, lambda _argument: 1)
    assert running.variable("v" * 64, VariableType.BOOL, lambda: True)
    assert not running.variable("ü" * 33, VariableType.BOOL, lambda: True)
    assert running.variable("v" * 64, VariableType.INT, lambda: 5)
    assert running.describe().functions == ("f" * 64,)
    assert running.describe().variables == {"v" * 64: VariableType.INT}


def test_events_go_to_every_handler_whose_prefix_fits() -> None:
    heard: list[str] = []
    came = threading.Semaphore(0)

    class App(Threaded):
        def setup(self) -> None:
            for prefix in ("a", "a/b", "b", ""):
                self.os.subscribe(prefix, partial(self.note, prefix))

        def note(self, prefix: str, name: str, data: bytes) -> None:
            heard.append(f"{prefix}<{name}={data!r}")
            came.release()

    running = host(App)
    running.start()
    assert running.setup_done.wait(WITHIN)
    running.deliver("a/b/c", b"1")
    for _ in range(3):
        assert came.acquire(timeout=WITHIN)
    running.stop()
    assert heard == ["a<a/b/c=b'1'", "a/b<a/b/c=b'1'", "<a/b/c=b'1'"]
