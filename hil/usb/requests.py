"""The control requests the rack uses, with names and types. USB fact sheet 4.5; ids in ``hil.device.requests``.

Each helper raises ``RequestRefused`` when the board answers with a negative result.
"""

from __future__ import annotations

from dataclasses import dataclass

from hil.device.modules import ModuleFunction
from hil.device.protobuf import Fields
from hil.device.requests import OLD_MODULE_TYPES, CloudState, ControlRequest
from hil.device.results import Result, result_name
from hil.errors import RigError
from hil.usb.control import ControlChannel

_SHORT = 10.0  # seconds for requests that the system thread answers at once

_FUNCTIONS_BY_OLD_TYPE = {number: function for function, number in OLD_MODULE_TYPES.items()}


class RequestRefused(RigError):
    """The board answered a control request with a negative result, kept in ``result``."""

    def __init__(self, what: str, result: int) -> None:
        self.result = result
        super().__init__(what, expected="result 0", found=f"result {result_name(result)}")


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


def ask(channel: ControlChannel, request: ControlRequest) -> bytes:
    """Make a request without a message of its own and return the reply. Raises ``RequestRefused``."""
    reply = channel.request(request, timeout=_SHORT)
    if reply.result < 0:
        raise RequestRefused(f"{channel.board} refused control request {request.value}", reply.result)
    return reply.data


def device_id(channel: ControlChannel) -> str:
    """The device id, 24 hex digits in lower case."""
    return Fields(ask(channel, ControlRequest.DEVICE_ID)).text(1).lower()


def os_version(channel: ControlChannel) -> str:
    """The Device OS release, such as ``6.2.0``."""
    return Fields(ask(channel, ControlRequest.OS_VERSION)).text(1)


def reset(channel: ControlChannel) -> None:
    """Reset; the board does so a second after it answered."""
    ask(channel, ControlRequest.RESET)


def enter_dfu(channel: ControlChannel) -> None:
    """Restart into the bootloader, a second after the answer."""
    ask(channel, ControlRequest.DFU_MODE)


def enter_safe_mode(channel: ControlChannel) -> None:
    """Restart without the application, a second after the answer."""
    ask(channel, ControlRequest.SAFE_MODE)


def start_listening(channel: ControlChannel) -> None:
    ask(channel, ControlRequest.START_LISTENING)


def stop_listening(channel: ControlChannel) -> None:
    ask(channel, ControlRequest.STOP_LISTENING)


def is_listening(channel: ControlChannel) -> bool:
    """Whether the board is in listening mode."""
    return Fields(ask(channel, ControlRequest.DEVICE_MODE)).uint(1) == 1


def cloud_connect(channel: ControlChannel) -> None:
    """Have Device OS go online, whatever the application does."""
    ask(channel, ControlRequest.CLOUD_CONNECT)


def cloud_disconnect(channel: ControlChannel) -> None:
    """Have Device OS say goodbye and stay offline."""
    ask(channel, ControlRequest.CLOUD_DISCONNECT)


def cloud_state(channel: ControlChannel) -> CloudState:
    """What Device OS says of its connection."""
    return CloudState(Fields(ask(channel, ControlRequest.CLOUD_STATUS)).uint(1))


def modules(channel: ControlChannel) -> tuple[InstalledModule, ...]:
    """What is installed, in either of its two forms."""
    return parse_modules(ask(channel, ControlRequest.MODULE_INFO))


def parse_modules(reply: bytes) -> tuple[InstalledModule, ...]:
    """Read a reply of ``MODULE_INFO``: field 1 up to Device OS 5.5, field 2 from 5.6. Raises ``WireError``."""
    fields = Fields(reply)
    old = [_old_module(Fields(item)) for item in fields.all(1)]
    return (*old, *(_module(Fields(item)) for item in fields.all(2)))


def _old_module(module: Fields) -> InstalledModule:
    function = _FUNCTIONS_BY_OLD_TYPE.get(module.uint(1), ModuleFunction.NONE)
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


def not_supported(error: RequestRefused) -> bool:
    """Whether a refusal means that this Device OS does not have the request."""
    return error.result == Result.NOT_SUPPORTED
