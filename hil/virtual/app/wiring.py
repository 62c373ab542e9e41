"""The Device OS API as an application twin sees it: ``Particle``, ``System`` and ``Serial`` of a virtual board.

A twin is the Python side of an application whose other side is C++ for real boards. All of its methods run on the
application's own thread, one at a time. Writers of twins import these names from ``hil.twin``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Protocol

from hil.device.results import Result
from hil.wire.messages import VariableType

VariableValue = bool | int | float | str

# Results by the names that applications know them by.
ERROR_NOT_SUPPORTED = Result.NOT_SUPPORTED
ERROR_LIMIT_EXCEEDED = Result.LIMIT_EXCEEDED
ERROR_INVALID_STATE = Result.INVALID_STATE
ERROR_INVALID_ARGUMENT = Result.INVALID_ARGUMENT

MAX_APPLICATION_SUBSCRIPTIONS = 4  # protocol fact sheet 3.5: six handlers, two of them the system's


class SystemMode(StrEnum):
    """``SYSTEM_MODE()``: who connects to the cloud, and whether ``setup()`` waits for that."""

    AUTOMATIC = "automatic"
    SEMI_AUTOMATIC = "semi_automatic"
    MANUAL = "manual"


class AckMode(StrEnum):
    """The publish flags that decide between confirmable and non-confirmable (protocol fact sheet 3.4)."""

    DEFAULT = ""
    WITH_ACK = "ack"
    NO_ACK = "noack"


class PublishState(StrEnum):
    """What became of a publish."""

    PENDING = "pending"
    OK = "ok"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(slots=True)
class Publication:
    """A publish on its way; ``state`` moves from pending to one of the others once."""

    state: PublishState = PublishState.PENDING


@dataclass(frozen=True, slots=True)
class Variable:
    """A registered cloud variable."""

    kind: VariableType
    read: Callable[[], VariableValue]


EventHandler = Callable[[str, bytes], None]
FunctionHandler = Callable[[str], int]


class Wiring(Protocol):
    """What Device OS offers an application."""

    @property
    def device_os(self) -> str:
        """The Device OS release, such as ``6.2.0``."""

    @property
    def boots(self) -> int:
        """How many times the board started since power came on (1 for the first)."""

    @property
    def build(self) -> str:
        """The 16 hex digits after ``HIL-BUILD:`` in the image that runs."""

    @property
    def version(self) -> int:
        """The version that the image names after its application."""

    @property
    def connected(self) -> bool:
        """``Particle.connected()``."""

    @property
    def serial_connected(self) -> bool:
        """``Serial.isConnected()``: a host has the serial port open."""

    def millis(self) -> int:
        """``millis()``: milliseconds since this start of the board."""

    def delay(self, milliseconds: float) -> None:
        """``delay()``. Calls, events and requests are handled meanwhile, but not within a handler."""

    def process(self) -> None:
        """``Particle.process()``: handle what waits now. In manual mode calls and events wait for it."""

    def connect(self) -> None:
        """``Particle.connect()``."""

    def disconnect(self) -> None:
        """``Particle.disconnect()``."""

    def publish(
        self, name: str, data: bytes | str = b"", *, ttl: int = 60, ack: AckMode = AckMode.DEFAULT
    ) -> Publication:
        """``Particle.publish()``: a private event that lives ``ttl`` seconds.

        What Device OS does not accept (offline, name or data too long, more than four in a second) comes back as
        refused.
        """

    def subscribe(self, prefix: str, handler: EventHandler) -> bool:
        """``Particle.subscribe()``: events whose name begins with ``prefix``; false when the table is full."""

    def unsubscribe(self) -> None:
        """``Particle.unsubscribe()``: drops all handlers of the application."""

    def function(self, name: str, handler: FunctionHandler) -> bool:
        """``Particle.function()``: ``handler`` gets the argument and gives an ``int``; false for a name too long."""

    def variable(
        self, name: str, kind: VariableType | type[VariableValue], read: Callable[[], VariableValue]
    ) -> bool:
        """``Particle.variable()`` of Python's ``bool``, ``int``, ``float`` or ``str``; false for a name too long.

        ``read`` gives the value whenever the cloud asks.
        """

    def write(self, data: bytes | str) -> None:
        """``Serial.write()``: lost while no program on the host has the port open."""

    def reset(self) -> None:
        """``System.reset()``, after the reply to the current control request was delivered."""

    def enter_safe_mode(self) -> None:
        """``System.enterSafeMode()``."""

    def sleep(self, seconds: float) -> None:
        """``System.sleep()`` in a mode that switches the network and USB off and continues afterwards."""


class Application:
    """Base of application twins. ``os`` is there from construction on.

    ``VERSIONS``: the versions that images are built of; the running one is ``os.version``. ``SYSTEM_MODE`` and
    ``SYSTEM_THREAD`` are what the C++ side declares with the macros of these names. Without threading, ``setup()`` in
    automatic mode waits for the first connection to the cloud, so that it can publish. Device OS 6.2.0 and later
    enable threading unless told otherwise; here it is off until the twin says so, on every release.
    """

    VERSIONS: ClassVar[tuple[int, ...]] = (1,)
    SYSTEM_MODE: ClassVar[SystemMode | str] = SystemMode.AUTOMATIC
    SYSTEM_THREAD: ClassVar[bool] = False

    def __init__(self, os: Wiring) -> None:
        self.os = os

    def setup(self) -> None:
        """Runs once at start."""

    def loop(self) -> None:
        """Runs again and again after ``setup()``, about every 10 ms; calls and events are handled in between."""

    def control_request(self, payload: bytes) -> tuple[int, bytes]:
        """``ctrl_request_custom_handler``: the result code and reply of control request 10."""
        del payload
        return ERROR_NOT_SUPPORTED, b""

    def serial_received(self, data: bytes) -> None:
        """Bytes that the host wrote to the USB serial port."""


ApplicationFactory = Callable[[Wiring], Application]
