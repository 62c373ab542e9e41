"""Where a virtual board's application runs: twins found by the name in the image, one thread for each."""

from __future__ import annotations

import contextlib
import importlib
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from hil.errors import UsageError
from hil.virtual.app.wiring import (
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
from hil.virtual.hardware.facts import DeviceFacts
from hil.virtual.hardware.session_cache import BootState
from hil.wire.messages import VariableType
from hil.wire.messages.description import ApplicationDescribe

MAX_NAME = 64  # protocol fact sheet section 6, function and variable names since 0.8.0

T = TypeVar("T")


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


class ApplicationFault(Exception):
    """The application raised an error, or ended before it got to the work."""


class _Job(Generic[T]):
    """Something to do on the application's thread, and who waits for it."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self.future: Future[T] = Future()

    def run(self, log: Callable[[str], None]) -> None:
        """Do it, even when whoever asked is gone."""
        wanted = self.future.set_running_or_notify_cancel()
        try:
            result = self._function()
        except Exception as error:
            log(f"application error: {error!r}")
            if wanted:
                self.future.set_exception(ApplicationFault(repr(error)))
        else:
            if wanted:
                self.future.set_result(result)

    def abandon(self) -> None:
        """The application ended before its turn came."""
        if self.future.set_running_or_notify_cancel():
            self.future.set_exception(ApplicationFault("the application has ended"))


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

    def subscribed(self, subscription: Subscription) -> None: ...

    def unsubscribed(self) -> None: ...

    def application_ready(self) -> None:
        """``setup()`` is done."""


class ApplicationHost:
    """Runs one application on its own thread and keeps what it registered (it is the twin's ``Wiring``).

    The cloud client reads ``describe()`` and ``prefixes()`` and brings calls, reads and events in; each runs on
    the application's thread, so a blocked application blocks them, as on a real board. ``boot`` is what the cloud
    clients of this start have in common: there is a new one after a sleep.
    """

    def __init__(
        self, facts: DeviceFacts, factory: ApplicationFactory | None, image: ApplicationImage | None
    ) -> None:
        self._facts = facts
        self._image = image
        self._cloud: CloudCommands | None = None
        self._jobs: queue.SimpleQueue[_Job[Any] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._ended = False
        self._started_at = time.monotonic()
        self._serial = 0
        self.boot = BootState()
        self.setup_done = threading.Event()
        self.functions: dict[str, FunctionHandler] = {}
        self.variables: dict[str, Variable] = {}
        self.subscriptions: list[Subscription] = []
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
        self._thread = threading.Thread(target=self._run, args=(self._application,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Reset or power loss: the application ends; what still waits for it gets ApplicationFault."""
        with self._lock:
            self._ended = True
        while not self._jobs.empty():
            with contextlib.suppress(queue.Empty):
                job = self._jobs.get_nowait()
                if job is not None:
                    job.abandon()
        self._jobs.put(None)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=2)

    def _run(self, application: Application) -> None:
        try:
            application.setup()
        except Exception as error:
            self._facts.log(f"application error in setup: {error!r}")
        self.setup_done.set()
        if self._cloud is not None:
            self._cloud.application_ready()
        while (job := self._jobs.get()) is not None:
            job.run(self._facts.log)

    def _on_thread(self, function: Callable[[], T]) -> Future[T]:
        job = _Job(function)
        with self._lock:
            if not self._ended:
                self._jobs.put(job)
                return job.future
        job.abandon()
        return job.future

    # -- what comes in from USB and the cloud ------------------------------------------------------

    def control_request(self, payload: bytes) -> Future[tuple[int, bytes]]:
        """An ``APP_CUSTOM`` request; not supported when no application runs."""
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
        # Copies: the application may register something in this moment.
        kinds = {name: variable.kind for name, variable in self.variables.copy().items()}
        return ApplicationDescribe(functions=tuple(self.functions.copy()), variables=kinds)

    def registered_subscriptions(self) -> list[Subscription]:
        """What the application subscribed to, in order."""
        return list(self.subscriptions)

    def call(self, name: str, argument: bytes) -> Future[int] | None:
        """Call a function; ``None`` when there is none of that name."""
        handler = self.functions.get(name)
        if handler is None:
            return None
        return self._on_thread(lambda: handler(argument.decode("utf-8", "replace")))

    def read(self, variable: Variable) -> Future[VariableValue]:
        """Read a variable."""
        return self._on_thread(variable.read)

    def deliver(self, name: str, data: bytes) -> None:
        """Hand an event to every handler whose prefix matches."""
        for subscription in self.registered_subscriptions():
            if name.startswith(subscription.prefix):
                self._on_thread(partial(subscription.handler, name, data))

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
