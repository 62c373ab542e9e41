"""The control requests the rack uses, with names and types. USB fact sheet 4.5 and 5.6; ids there.

Each helper raises ``RequestRefused`` when the board answers with a negative result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from hil.device.keys import der_length
from hil.device.modules import ModuleFunction
from hil.device.protobuf import Fields, Writer
from hil.device.results import Result, result_name
from hil.errors import RigError
from hil.usb.control import ControlChannel

APP_CUSTOM = 10
DEVICE_ID, OS_VERSION = 20, 30
RESET, DFU_MODE, SAFE_MODE = 40, 50, 60
START_LISTENING, STOP_LISTENING, DEVICE_MODE = 70, 71, 72
MODULE_INFO = 90
SET_KEY, GET_KEY, SET_SERVER, GET_SERVER = 210, 211, 220, 221
BLINK_ON, BLINK_OFF = 230, 231
BEGIN_UPDATE, FINISH_UPDATE, CANCEL_UPDATE, UPDATE_DATA = 250, 251, 252, 253
CLOUD_STATUS, CLOUD_CONNECT, CLOUD_DISCONNECT = 300, 301, 302

_SHORT = 10.0  # seconds for requests that the system thread answers at once

# Before 5.6.0 request 90 numbers its module types in a way of its own.
_OLD_FUNCTIONS = {
    1: ModuleFunction.BOOTLOADER,
    2: ModuleFunction.SYSTEM_PART,
    3: ModuleFunction.USER_PART,
    4: ModuleFunction.MONOLITHIC,
    5: ModuleFunction.NCP_FIRMWARE,
    6: ModuleFunction.RADIO_STACK,
}


class RequestRefused(RigError):
    """The board answered a control request with a negative result, kept in ``result``."""

    def __init__(self, what: str, result: int) -> None:
        self.result = result
        super().__init__(what, expected="result 0", found=f"result {result_name(result)}")


class CloudStatus(IntEnum):
    """Reply of request 300."""

    DISCONNECTED = 0
    CONNECTING = 1
    CONNECTED = 2
    DISCONNECTING = 3


class KeyType(IntEnum):
    """Keys that requests 210 and 211 name (Gen 2 up to 3.3.1)."""

    TCP_DEVICE_PRIVATE = 1
    TCP_DEVICE_PUBLIC = 2
    TCP_SERVER_PUBLIC = 3
    UDP_DEVICE_PRIVATE = 4
    UDP_DEVICE_PUBLIC = 5
    UDP_SERVER_PUBLIC = 6


@dataclass(frozen=True, slots=True)
class InstalledModule:
    """A module that a board reports. ``size`` is in bytes, ``sha256`` ``None`` where the board does not say."""

    function: ModuleFunction
    index: int
    version: int
    size: int
    valid: bool
    sha256: bytes | None = None
    factory: bool = False


def ask(channel: ControlChannel, request: int, payload: bytes = b"", timeout: float = _SHORT) -> bytes:
    """Make a request and return the reply. Raises ``RequestRefused``."""
    reply = channel.request(request, payload, timeout)
    if reply.result < 0:
        raise RequestRefused(f"{channel.board} refused control request {request}", reply.result)
    return reply.data


def device_id(channel: ControlChannel) -> str:
    """The device id, 24 hex digits in lower case."""
    return Fields(ask(channel, DEVICE_ID)).text(1).lower()


def os_version(channel: ControlChannel) -> str:
    """The Device OS release, such as ``6.2.0``."""
    return Fields(ask(channel, OS_VERSION)).text(1)


def reset(channel: ControlChannel) -> None:
    """Reset; the board does so a second after it answered."""
    ask(channel, RESET)


def enter_dfu(channel: ControlChannel) -> None:
    """Restart into the bootloader, a second after the answer."""
    ask(channel, DFU_MODE)


def enter_safe_mode(channel: ControlChannel) -> None:
    """Restart without the application, a second after the answer."""
    ask(channel, SAFE_MODE)


def start_listening(channel: ControlChannel) -> None:
    ask(channel, START_LISTENING)


def stop_listening(channel: ControlChannel) -> None:
    ask(channel, STOP_LISTENING)


def is_listening(channel: ControlChannel) -> bool:
    """Whether the board is in listening mode (request 72)."""
    return Fields(ask(channel, DEVICE_MODE)).uint(1) == 1


def cloud_connect(channel: ControlChannel) -> None:
    ask(channel, CLOUD_CONNECT)


def cloud_disconnect(channel: ControlChannel) -> None:
    ask(channel, CLOUD_DISCONNECT)


def cloud_status(channel: ControlChannel) -> CloudStatus:
    return CloudStatus(Fields(ask(channel, CLOUD_STATUS)).uint(1))


def blink(channel: ControlChannel, on: bool) -> None:
    """Rainbow on the board's light, to tell which one it is."""
    ask(channel, BLINK_ON if on else BLINK_OFF)


def modules(channel: ControlChannel) -> tuple[InstalledModule, ...]:
    """What is installed (request 90), in either of its two forms."""
    return parse_modules(ask(channel, MODULE_INFO))


def parse_modules(reply: bytes) -> tuple[InstalledModule, ...]:
    """Read a reply of request 90: field 1 up to Device OS 5.5, field 2 from 5.6. Raises ``WireError``."""
    fields = Fields(reply)
    old = [_old_module(Fields(item)) for item in fields.all(1)]
    return (*old, *(_module(Fields(item)) for item in fields.all(2)))


def _old_module(module: Fields) -> InstalledModule:
    function = _OLD_FUNCTIONS.get(module.uint(1), ModuleFunction.NONE)
    valid = module.uint(5) == 0
    return InstalledModule(function, module.uint(2), module.uint(3), module.uint(4), valid)


def _module(module: Fields) -> InstalledModule:
    number = module.uint(1)
    function = ModuleFunction(number) if number in tuple(ModuleFunction) else ModuleFunction.NONE
    return InstalledModule(
        function,
        module.uint(2),
        module.uint(3),
        module.uint(11),
        valid=module.uint(6) == module.uint(7),
        sha256=module.data(8) or None,
        factory=module.uint(4) == 1,
    )


def get_key(channel: ControlChannel, kind: KeyType) -> bytes:
    """A key as DER (Gen 2 up to 3.3.1 only, elsewhere refused as not supported).

    The board sends the whole field that holds it. Raises ``WireError`` when no key is in it.
    """
    field = Fields(ask(channel, GET_KEY, Writer().uint(1, kind).finish())).data(1)
    return field[: der_length(field)]


def set_key(channel: ControlChannel, kind: KeyType, der: bytes) -> None:
    """Store a key (Gen 2 up to 3.3.1 only)."""
    ask(channel, SET_KEY, Writer().uint(1, kind).data(2, der).finish())


def encode_server(protocol: int, host: str, port: int) -> bytes:
    """Payload of request 220; ``protocol`` is 1 for TCP, 2 for UDP."""
    return Writer().uint(1, protocol).text(2, host).uint(3, port).finish()


def set_server(channel: ControlChannel, protocol: int, host: str, port: int) -> None:
    """Store the server address (Gen 2 up to 3.3.1 only)."""
    ask(channel, SET_SERVER, encode_server(protocol, host, port))


def encode_begin_update(size: int) -> bytes:
    """Payload of request 250."""
    return Writer().uint(1, size).finish()


def update(channel: ControlChannel, file: bytes, progress: Callable[[int, int], None] | None = None) -> None:
    """Give the board a module by control requests 250 to 253: any that it can take over the air, a bootloader too.

    ``progress`` is called with (bytes sent, bytes in all). The board validates, answers, and then applies and
    resets. On a failure the update is cancelled.
    """
    chunk = Fields(ask(channel, BEGIN_UPDATE, encode_begin_update(len(file)), 60)).uint(1, 1024)
    try:
        for start in range(0, len(file), chunk):
            ask(channel, UPDATE_DATA, Writer().data(1, file[start : start + chunk]).finish())
            if progress is not None:
                progress(min(start + chunk, len(file)), len(file))
        ask(channel, FINISH_UPDATE, timeout=60)
    except RequestRefused:
        channel.request(CANCEL_UPDATE, timeout=_SHORT)
        raise


def not_supported(error: RequestRefused) -> bool:
    """Whether a refusal means that this Device OS does not have the request."""
    return error.result == Result.NOT_SUPPORTED
