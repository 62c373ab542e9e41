"""The Device OS API as an application twin sees it: ``Particle``, ``System`` and ``Serial`` of a virtual board.

A twin is the Python side of a test application whose other side is C++ for real boards. All of its methods run
on the application's own thread, one at a time, as with threading enabled on a real board.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from hil.device.results import Result
from hil.wire.messages import VariableType

VariableValue = bool | int | float | str

# Results by the names that applications know them by.
ERROR_NOT_SUPPORTED = Result.NOT_SUPPORTED
ERROR_LIMIT_EXCEEDED = Result.LIMIT_EXCEEDED
ERROR_INVALID_STATE = Result.INVALID_STATE
ERROR_INVALID_ARGUMENT = Result.INVALID_ARGUMENT

MAX_APPLICATION_SUBSCRIPTIONS = 4  # protocol fact sheet 3.5: six handlers, two of them the system's


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

    def uptime_ms(self) -> int:
        """``millis()``."""

    def connect(self) -> None:
        """``Particle.connect()``."""

    def disconnect(self) -> None:
        """``Particle.disconnect()``."""

    def publish(
        self, name: str, data: bytes, *, ttl: int = 60, ack: AckMode = AckMode.DEFAULT
    ) -> Publication:
        """``Particle.publish()``: a private event. What Device OS does not accept comes back as refused."""

    def subscribe(self, prefix: str, handler: EventHandler) -> bool:
        """``Particle.subscribe()``; false when the table is full."""

    def unsubscribe(self) -> None:
        """``Particle.unsubscribe()``: drops all handlers of the application."""

    def function(self, name: str, handler: FunctionHandler) -> bool:
        """``Particle.function()``; false for a name that is too long."""

    def variable(self, name: str, kind: VariableType, read: Callable[[], VariableValue]) -> bool:
        """``Particle.variable()``; false for a name that is too long."""

    def write(self, data: bytes) -> None:
        """``Serial.write()``."""

    def reset(self) -> None:
        """``System.reset()``, after the reply to the current control request was delivered."""

    def enter_safe_mode(self) -> None:
        """``System.enterSafeMode()``."""

    def sleep(self, seconds: float) -> None:
        """``System.sleep()`` in a mode that switches the network and USB off and continues afterwards."""


class Application:
    """Base of application twins. ``os`` is there from construction on."""

    def __init__(self, os: Wiring) -> None:
        self.os = os

    def setup(self) -> None:
        """Runs once at start."""

    def control_request(self, payload: bytes) -> tuple[int, bytes]:
        """``ctrl_request_custom_handler``: the result code and reply of control request 10."""
        del payload
        return ERROR_NOT_SUPPORTED, b""

    def serial_received(self, data: bytes) -> None:
        """Bytes that the host wrote to the USB serial port."""
