"""Where a virtual board's application runs: twins found by the name in the image, one thread for each."""

from __future__ import annotations

import importlib
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol, TypeVar

from hil.errors import UsageError
from hil.virtual.facts import DeviceFacts
from hil.virtual.wiring import (
    ERROR_NOT_SUPPORTED,
    MAX_APPLICATION_SUBSCRIPTIONS,
    AckMode,
    Application,
    EventHandler,
    FunctionHandler,
    Publication,
    PublishState,
    Variable,
    VariableValue,
)
from hil.wire.describe import ApplicationDescribe
from hil.wire.messages import VariableType

MAX_NAME = 64  # protocol fact sheet section 6, function and variable names since 0.8.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ApplicationImage:
    """What the payload of a user part says of itself: ``HIL-APP:name@version`` and ``HIL-BUILD:hex``."""

    name: str
    version: int
    build: str


ApplicationFactory = Callable[["ApplicationHost"], Application]


def load_application(name: str) -> ApplicationFactory:
    """The twin of application ``name``: class ``App`` of module ``firmware.<name>.twin``.

    Raises UsageError when there is none; the board then has nothing to run.
    """
    if not name.isidentifier():
        raise UsageError(f"{name!r} is not the name of an application")
    try:
        module = importlib.import_module(f"firmware.{name}.twin")
    except ModuleNotFoundError as error:
        raise UsageError(
            f"no twin of application {name!r}",
            expected=f"firmware/{name}/twin.py with a class App",
            found=str(error),
        ) from error
    factory: ApplicationFactory = module.App
    return factory


class CloudCommands(Protocol):
    """What the application can ask of the cloud client."""

    @property
    def connected(self) -> bool: ...

    def connect(self) -> None: ...

    def disconnect(self) -> None: ...

    def publish(self, name: str, data: bytes, *, ttl: int, ack: AckMode) -> Publication: ...

    def subscriptions_changed(self) -> None: ...


class ApplicationHost:
    """Runs one application on its own thread and keeps what it registered (it is the twin's ``Wiring``).

    The cloud client reads ``describe()`` and ``prefixes()`` and brings calls, reads and events in; each runs on
    the application's thread, so a blocked application blocks them, as on a real board.
    """

    def __init__(
        self, facts: DeviceFacts, factory: ApplicationFactory | None, image: ApplicationImage | None
    ) -> None:
        self._facts = facts
        self._image = image
        self._cloud: CloudCommands | None = None
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._started_at = time.monotonic()
        self.setup_done = threading.Event()
        self.functions: dict[str, FunctionHandler] = {}
        self.variables: dict[str, Variable] = {}
        self.subscriptions: list[tuple[str, EventHandler]] = []
        self._application = factory(self) if factory is not None else None

    # -- life --------------------------------------------------------------------------------------

    @property
    def present(self) -> bool:
        """Whether there is an application at all (there is none in safe mode)."""
        return self._application is not None

    def bind_cloud(self, cloud: CloudCommands) -> None:
        """Tell the host which cloud client carries its requests."""
        self._cloud = cloud

    def start(self) -> None:
        """Start the thread and run ``setup()`` on it."""
        if self._application is None:
            self.setup_done.set()
            return
        application = self._application
        self._thread = threading.Thread(target=self._run, name="application", daemon=True)
        self._thread.start()

        def setup() -> None:
            application.setup()
            self.setup_done.set()

        self._jobs.put(setup)

    def stop(self) -> None:
        """Reset or power loss: the application ends where it is."""
        self._jobs.put(None)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=2)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _on_thread(self, function: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()

        def job() -> None:
            try:
                future.set_result(function())
            except Exception as error:
                self._facts.log(f"application error: {error!r}")
                future.set_exception(error)

        self._jobs.put(job)
        return future

    # -- what comes in from USB and the cloud ------------------------------------------------------

    def control_request(self, payload: bytes) -> Future[tuple[int, bytes]]:
        """Control request 10; answered with -120 when no application runs."""
        application = self._application
        if application is None:
            done: Future[tuple[int, bytes]] = Future()
            done.set_result((ERROR_NOT_SUPPORTED, b""))
            return done
        return self._on_thread(lambda: application.control_request(payload))

    def serial_received(self, data: bytes) -> None:
        """Bytes from the host on the USB serial port."""
        application = self._application
        if application is not None:
            self._on_thread(lambda: application.serial_received(data))

    def describe(self) -> ApplicationDescribe:
        """The application Describe; empty in safe mode (protocol fact sheet 11.2)."""
        kinds = {name: variable.kind for name, variable in self.variables.items()}
        return ApplicationDescribe(functions=tuple(self.functions), variables=kinds)

    def prefixes(self) -> list[str]:
        """Prefixes that the application subscribed to, in order."""
        return [prefix for prefix, _ in self.subscriptions]

    def call(self, name: str, argument: bytes) -> Future[int] | None:
        """Call a function; ``None`` when there is none of that name."""
        handler = self.functions.get(name)
        if handler is None:
            return None
        return self._on_thread(lambda: handler(argument.decode("utf-8", "replace")))

    def read(self, name: str) -> Future[VariableValue] | None:
        """Read a variable; ``None`` when there is none of that name."""
        variable = self.variables.get(name)
        return None if variable is None else self._on_thread(variable.read)

    def deliver(self, name: str, data: bytes) -> None:
        """Hand an event to every handler whose prefix matches."""
        for prefix, handler in list(self.subscriptions):
            if name.startswith(prefix):
                self._on_thread(lambda handler=handler: handler(name, data))  # type: ignore[misc]

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

    def uptime_ms(self) -> int:
        return int((time.monotonic() - self._started_at) * 1000)

    def connect(self) -> None:
        if self._cloud is not None:
            self._cloud.connect()

    def disconnect(self) -> None:
        if self._cloud is not None:
            self._cloud.disconnect()

    def publish(
        self, name: str, data: bytes, *, ttl: int = 60, ack: AckMode = AckMode.DEFAULT
    ) -> Publication:
        if self._cloud is None:
            return Publication(PublishState.REFUSED)
        return self._cloud.publish(name, data, ttl=ttl, ack=ack)

    def subscribe(self, prefix: str, handler: EventHandler) -> bool:
        if len(self.subscriptions) >= MAX_APPLICATION_SUBSCRIPTIONS:
            return False
        self.subscriptions.append((prefix, handler))
        if self._cloud is not None:
            self._cloud.subscriptions_changed()
        return True

    def unsubscribe(self) -> None:
        self.subscriptions.clear()

    def function(self, name: str, handler: FunctionHandler) -> bool:
        if len(name.encode()) > MAX_NAME:
            return False
        self.functions[name] = handler
        return True

    def variable(self, name: str, kind: VariableType, read: Callable[[], VariableValue]) -> bool:
        if len(name.encode()) > MAX_NAME:
            return False
        self.variables[name] = Variable(kind, read)
        return True

    def write(self, data: bytes) -> None:
        self._facts.usb_serial_write(data)

    def reset(self) -> None:
        self._facts.request_reset("user", delay=0.1)

    def enter_safe_mode(self) -> None:
        self._facts.request_reset("safe_mode", mode="safe", delay=0.1)

    def sleep(self, seconds: float) -> None:
        self._facts.request_sleep(seconds)
