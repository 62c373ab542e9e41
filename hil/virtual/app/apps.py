"""Where a virtual board's application runs, and what it registered: the other side of the twin's ``Wiring``.

When ``setup()`` runs and what waits for it: protocol fact sheet 7, and Device OS's system modes and system thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

from hil.virtual.app.library import BrokenTwin, place_in_twin
from hil.virtual.app.thread import ApplicationThread, Unregistered
from hil.virtual.app.wiring import (
    ERROR_NOT_SUPPORTED,
    MAX_APPLICATION_SUBSCRIPTIONS,
    AckMode,
    Application,
    ApplicationFactory,
    EventHandler,
    FunctionHandler,
    Publication,
    PublishState,
    SystemMode,
    Variable,
    VariableValue,
)
from hil.virtual.hardware.facts import DeviceFacts
from hil.virtual.hardware.session_cache import BootState
from hil.wire.messages import VariableType
from hil.wire.messages.description import ApplicationDescribe

MAX_NAME = 64  # protocol fact sheet section 6, function and variable names since 0.8.0
T = TypeVar("T")

LOOP_PACE = 0.01  # seconds from one loop() to the next: a loop that returns at once must not burn a core
_COMPLAINT_PAUSE = 1.0  # seconds until the same error is said again
_KINDS = {
    bool: VariableType.BOOL,
    int: VariableType.INT,
    float: VariableType.DOUBLE,
    str: VariableType.STRING,
}


@dataclass(frozen=True, slots=True)
class ApplicationImage:
    """What the payload of a user part says of itself: ``HIL-APP:name@version`` and ``HIL-BUILD:hex``."""

    name: str
    version: int
    build: str


@dataclass(frozen=True, slots=True)
class Subscription:
    """A handler of the application; ``serial`` counts the subscriptions of one start from 1."""

    serial: int
    prefix: str
    handler: EventHandler


class CloudCommands(Protocol):
    """What the application can ask of the cloud client."""

    @property
    def connected(self) -> bool: ...

    def connect(self) -> None: ...

    def disconnect(self) -> None: ...

    def publish(self, name: str, data: bytes, *, ttl: int, ack: AckMode) -> Publication: ...

    def subscribed(self, subscription: Subscription) -> None: ...

    def unsubscribed(self) -> None: ...

    def application_ready(self) -> None:
        """``setup()`` is done."""


class ApplicationHost:
    """Runs one application on its own thread and keeps what it registered (it is the twin's ``Wiring``).

    The cloud client reads ``describe()`` and ``registered_subscriptions()`` and brings calls, reads and events in; each
    runs on the application's thread, so a blocked application blocks them, as on a real board. ``boot`` is what the
    cloud clients of this start have in common: there is a new one after a sleep. Raises ``BrokenTwin`` for a twin that
    cannot be made.
    """

    def __init__(
        self, facts: DeviceFacts, factory: ApplicationFactory | None, image: ApplicationImage | None
    ) -> None:
        self._facts = facts
        self._image = image
        self._cloud: CloudCommands | None = None
        self._started_at = facts.clock.monotonic()
        self._serial = 0
        self._met_cloud = False
        self._dials = False  # the application asked for the cloud and has not left it
        self._to_dial = False  # the system has yet to hear of that
        self._early_input: list[bytes] = []
        self._complained: dict[str, float] = {}
        self.boot = BootState()
        self.setup_done = threading.Event()
        self.functions: dict[str, FunctionHandler] = {}
        self.variables: dict[str, Variable] = {}
        self.subscriptions: list[Subscription] = []
        self._application = self._make(factory) if factory is not None else None
        application = self._application or Application
        self._mode = SystemMode(application.SYSTEM_MODE)
        self._threaded = application.SYSTEM_THREAD
        self._thread = ApplicationThread(self._complain, facts.clock, manual=self._mode is SystemMode.MANUAL)

    def _make(self, factory: ApplicationFactory) -> Application:
        try:
            return factory(self)
        except Exception as error:
            name = self._image.name if self._image else "?"
            raise BrokenTwin(
                f"the twin of application {name} cannot be made",
                found=f"{place_in_twin(error) or 'its constructor'}: {_told(error)}",
            ) from error

    # -- life --------------------------------------------------------------------------------------

    @property
    def present(self) -> bool:
        """Whether there is an application at all (there is none in safe mode)."""
        return self._application is not None

    @property
    def running(self) -> bool:
        """Whether its thread is there."""
        return self._thread.running

    @property
    def wants_cloud(self) -> bool:
        """Whether the board goes online by itself: in automatic mode, else once the application asked for it."""
        return self._mode is SystemMode.AUTOMATIC or self._dials

    @property
    def ready(self) -> bool:
        """Whether the application may be announced to the cloud (protocol fact sheet 7, step 5)."""
        return self.setup_done.is_set() or self._mode is not SystemMode.AUTOMATIC

    def bind_cloud(self, cloud: CloudCommands) -> None:
        """Tell the host which cloud client carries its requests."""
        self._cloud = cloud

    def cloud_connected(self) -> None:
        """The board came online; the first time lets ``setup()`` of an application without threading begin."""
        if not self._met_cloud:
            self._thread.submit("cloud_connected", self._meet_cloud)

    def _meet_cloud(self) -> None:
        self._met_cloud = True

    def start(self) -> None:
        """Start the thread and run ``setup()`` on it when its time has come, then ``loop()``."""
        application = self._application
        if application is None:
            self.setup_done.set()
            return
        self._thread.start(lambda: self._live(application))

    def stop(self) -> None:
        """Reset or power loss: the application ends; what still waits for it gets ``ApplicationFault``."""
        self._thread.stop()

    def _live(self, application: Application) -> None:
        if self._mode is SystemMode.AUTOMATIC and not self._threaded:
            self._thread.serve_until(lambda: self._met_cloud)
        self._thread.open()
        self._attempt("setup()", application.setup)
        self.setup_done.set()
        self._dial()
        if self._cloud is not None:
            self._cloud.application_ready()
        while self._early_input:
            data = self._early_input.pop(0)
            self._attempt("serial_received()", partial(application.serial_received, data))
        if type(application).loop is Application.loop:
            self._thread.serve()
        while True:
            self._attempt("loop()", application.loop)
            self._thread.between_turns(LOOP_PACE)

    def _attempt(self, what: str, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:
            self._complain(what, error)

    def _complain(self, what: str, error: BaseException) -> None:
        """Say on the serial port what went wrong where; what happens again and again at most once a second."""
        name = self._image.name if self._image else "application"
        line = f"hil: {name} failed in {what}: {_told(error)} ({place_in_twin(error) or 'outside its twin'})"
        now = time.monotonic()
        if now - self._complained.get(line, -_COMPLAINT_PAUSE) < _COMPLAINT_PAUSE:
            return
        self._complained[line] = now
        self._facts.log(f"application error in {what}: {error!r}")
        if what == "setup()":
            self._facts.notice(line)  # nobody may have the port open yet
        else:
            self._facts.usb_serial_write(f"{line}\r\n".encode())

    # -- what comes in from USB and the cloud ------------------------------------------------------

    def control_request(self, payload: bytes) -> Future[tuple[int, bytes]]:
        """An ``APP_CUSTOM`` request; not supported when no application runs."""
        application = self._application
        if application is None:
            done: Future[tuple[int, bytes]] = Future()
            done.set_result((ERROR_NOT_SUPPORTED, b""))
            return done
        return self._thread.submit("control_request()", lambda: application.control_request(payload))

    def serial_received(self, data: bytes) -> None:
        """Bytes from the host on the USB serial port."""
        application = self._application
        if application is None:
            return

        def receive() -> None:
            if self.setup_done.is_set():
                application.serial_received(data)
            else:
                self._early_input.append(data)  # waits for an application that can read it

        self._thread.submit("serial_received()", receive)

    def describe(self) -> ApplicationDescribe:
        """The application Describe; empty in safe mode (protocol fact sheet 11.2)."""
        # Copies: the application may register something in this moment.
        kinds = {name: variable.kind for name, variable in self.variables.copy().items()}
        return ApplicationDescribe(functions=tuple(self.functions.copy()), variables=kinds)

    def registered_subscriptions(self) -> list[Subscription]:
        """What the application subscribed to, in order."""
        return list(self.subscriptions)

    def call(self, name: str, argument: bytes) -> Future[int]:
        """Call a function, once the application is up. ``Unregistered`` when there is none of that name."""
        text = argument.decode("utf-8", "replace")

        def run() -> int:
            return _whole(_registered(self.functions, name)(text))

        if self._lacks(self.functions, name):
            return _failed(name)
        return self._thread.submit(f"function {name}", run, cloud=True)

    def read(self, name: str) -> Future[tuple[VariableType, VariableValue]]:
        """Read a variable: its type and value. ``Unregistered`` when there is none of that name."""

        def run() -> tuple[VariableType, VariableValue]:
            variable = _registered(self.variables, name)
            return variable.kind, _of_kind(variable.kind, variable.read())

        if self._lacks(self.variables, name):
            return _failed(name)
        return self._thread.submit(f"variable {name}", run, cloud=True)

    def _lacks(self, registered: Mapping[str, object], name: str) -> bool:
        """Whether it is certain already, whatever the application is busy with."""
        return self.setup_done.is_set() and name not in registered

    def deliver(self, name: str, data: bytes) -> None:
        """Hand an event to every handler whose prefix matches."""

        def run() -> None:
            for subscription in self.registered_subscriptions():
                if name.startswith(subscription.prefix):
                    handler = partial(subscription.handler, name, data)
                    self._attempt(f"the handler of event {name}", handler)

        self._thread.submit(f"event {name}", run, cloud=True)

    # -- Wiring ------------------------------------------------------------------------------------

    @property
    def device_os(self) -> str:
        return self._facts.device_os

    @property
    def boots(self) -> int:
        return int(self._facts.backup.get("boots", b"1"))

    @property
    def build(self) -> str:
        return self._image.build if self._image else ""

    @property
    def version(self) -> int:
        return self._image.version if self._image else 0

    @property
    def connected(self) -> bool:
        return self._cloud is not None and self._cloud.connected

    @property
    def serial_connected(self) -> bool:
        return self._facts.usb_serial_open()

    def millis(self) -> int:
        return int((self._facts.clock.monotonic() - self._started_at) * 1000)

    def delay(self, milliseconds: float) -> None:
        self._dial()
        self._thread.pause(milliseconds / 1000)

    def process(self) -> None:
        self._dial()
        self._thread.process()

    def connect(self) -> None:
        self._dials = True
        self._to_dial = True
        # Within setup() the system does not get to it before the application waits or returns.
        if self.setup_done.is_set() or self._mode is SystemMode.AUTOMATIC:
            self._dial()

    def _dial(self) -> None:
        asked, self._to_dial = self._to_dial, False
        if asked and self._cloud is not None:
            self._cloud.connect()

    def disconnect(self) -> None:
        self._dials = self._to_dial = False
        if self._cloud is not None:
            self._cloud.disconnect()

    def publish(
        self, name: str, data: bytes | str = b"", *, ttl: int = 60, ack: AckMode = AckMode.DEFAULT
    ) -> Publication:
        if self._cloud is None:
            return Publication(PublishState.REFUSED)
        return self._cloud.publish(name, _bytes(data), ttl=ttl, ack=ack)

    def subscribe(self, prefix: str, handler: EventHandler) -> bool:
        if len(self.subscriptions) >= MAX_APPLICATION_SUBSCRIPTIONS:
            return False
        self._serial += 1
        subscription = Subscription(self._serial, prefix, handler)
        self.subscriptions.append(subscription)
        if self._cloud is not None:
            self._cloud.subscribed(subscription)
        return True

    def unsubscribe(self) -> None:
        self.subscriptions.clear()
        if self._cloud is not None:
            self._cloud.unsubscribed()

    def function(self, name: str, handler: FunctionHandler) -> bool:
        if len(name.encode()) > MAX_NAME:
            return False
        self.functions[name] = handler
        return True

    def variable(
        self, name: str, kind: VariableType | type[VariableValue], read: Callable[[], VariableValue]
    ) -> bool:
        if len(name.encode()) > MAX_NAME:
            return False
        wire_kind = kind if isinstance(kind, VariableType) else _KINDS[kind]
        self.variables[name] = Variable(wire_kind, read)
        return True

    def write(self, data: bytes | str) -> None:
        self._facts.usb_serial_write(_bytes(data))

    def reset(self) -> None:
        self._facts.request_reset("user", delay=0.1)

    def enter_safe_mode(self) -> None:
        self._facts.request_reset("safe_mode", mode="safe", delay=0.1)

    def sleep(self, seconds: float) -> None:
        self._facts.request_sleep(seconds)


def _registered(table: Mapping[str, T], name: str) -> T:
    try:
        return table[name]
    except KeyError:
        raise Unregistered(name) from None


def _failed(name: str) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_exception(Unregistered(name))
    return future


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _bytes(data: bytes | str) -> bytes:
    return data.encode() if isinstance(data, str) else data


def _whole(result: object) -> int:
    """What a function gave. Raises ``TypeError``: a C++ function without ``return`` does not compile either."""
    if not isinstance(result, int):
        raise TypeError(f"a function returns an int, not {result!r}")
    return result


def _of_kind(kind: VariableType, value: VariableValue) -> VariableValue:
    """``value`` as the type that the variable was registered with. Raises ``ValueError`` or ``TypeError``."""
    convert: dict[VariableType, Callable[[VariableValue], VariableValue]] = {
        VariableType.BOOL: bool,
        VariableType.INT: lambda given: (int(given) + (1 << 31)) % (1 << 32) - (1 << 31),
        VariableType.DOUBLE: float,
        VariableType.STRING: str,
    }
    return convert[kind](value)
