"""What control requests do: identity, modes, module table, application and cloud.

Facts: USB fact sheet 4.5, and protocol fact sheet 11.6 for which board answers what. Configuration is in
``control_config``, the radio in ``control_network``, updates are in ``control_update``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import Future

from hil.device.modules import CRC_SIZE, ModuleFunction
from hil.device.protobuf import Fields, Writer
from hil.device.releases import version_tuple
from hil.device.requests import OLD_MODULE_TYPES, ControlRequest
from hil.device.results import UNSPECIFIED, Result
from hil.errors import UsageError, WireError
from hil.virtual.deviceos.control import Reply
from hil.virtual.deviceos.control_config import ConfigRequests
from hil.virtual.deviceos.control_network import network_requests
from hil.virtual.deviceos.control_update import UpdateRequests
from hil.virtual.deviceos.osystem import OperatingSystem
from hil.virtual.hardware.factory import NCP_VERSION
from hil.virtual.hardware.loader import ModuleState, Validity
from hil.virtual.hardware.machine import RESET_CODES
from hil.wire.messages.description import SystemDescribe

NO_SERIAL_NUMBER = Reply(UNSPECIFIED)

Handler = Callable[[bytes], "Reply | Future[Reply]"]

_NCP_TEXT = "0.0.5"


class ControlRequests:
    """The requests that one running Device OS knows."""

    def __init__(self, system: OperatingSystem) -> None:
        self._system = system
        self._machine = system.machine
        self._version = version_tuple(system.machine.device_os)
        self._handlers: dict[int, Handler] = self._own()
        self._handlers |= ConfigRequests(system.machine).handlers()
        self._handlers |= UpdateRequests(system.machine).handlers()
        self._handlers |= network_requests(system.machine)

    def dispatch(self, request: int, payload: bytes) -> Reply | Future[Reply]:
        """Run request ``request``; an id the system does not know is not supported."""
        handler = self._handlers.get(request)
        if handler is None:
            return Reply(Result.NOT_SUPPORTED)
        try:
            return handler(payload)
        except UsageError:
            return Reply(Result.INVALID_ARGUMENT)
        except WireError:
            return Reply(Result.BAD_DATA)

    def _own(self) -> dict[int, Handler]:
        handlers: dict[int, Handler] = {
            ControlRequest.ECHO: lambda payload: Reply(data=payload),
            ControlRequest.APP_CUSTOM: self._application,
            ControlRequest.DEVICE_ID: lambda _: Reply(
                data=Writer().text(1, self._machine.device_id.hex()).finish()
            ),
            ControlRequest.SERIAL_NUMBER: self._serial_number,
            ControlRequest.OS_VERSION: lambda _: Reply(
                data=Writer().text(1, self._machine.device_os).finish()
            ),
            ControlRequest.CAPABILITIES: lambda _: Reply(),
            ControlRequest.RESET: lambda _: self._reset("user", "normal"),
            ControlRequest.FACTORY_RESET: lambda _: Reply(then=self._machine.factory_reset),
            ControlRequest.DFU_MODE: lambda _: self._reset("dfu_mode", "dfu"),
            ControlRequest.SAFE_MODE: lambda _: self._reset("safe_mode", "safe"),
            ControlRequest.START_LISTENING: self._start_listening,
            ControlRequest.STOP_LISTENING: self._stop_listening,
            ControlRequest.DEVICE_MODE: lambda _: Reply(
                data=Writer().uint(1, int(self._machine.listening)).finish()
            ),
            ControlRequest.MODULE_INFO: self._module_info,
            ControlRequest.DIAGNOSTICS: self._diagnostics,
            ControlRequest.BLINK_ON: lambda _: Reply(),
            ControlRequest.BLINK_OFF: lambda _: Reply(),
            ControlRequest.CLOUD_STATUS: lambda _: Reply(
                data=Writer().uint(1, int(self._system.cloud.state)).finish()
            ),
            ControlRequest.CLOUD_CONNECT: self._connect,
            ControlRequest.CLOUD_DISCONNECT: self._disconnect,
        }
        if self._machine.platform.has_ncp:
            ncp = Writer().text(1, _NCP_TEXT).uint(2, NCP_VERSION).finish()
            handlers[ControlRequest.NCP_VERSION] = lambda _: Reply(data=ncp)
        if self._version >= (5, 6, 0):
            handlers[ControlRequest.ASSET_INFO] = lambda _: Reply()
        return handlers

    def _reset(self, reason: str, mode: str) -> Reply:
        return Reply(then=lambda: self._machine.request_reset(reason, mode=mode))

    def _application(self, payload: bytes) -> Future[Reply]:
        """``APP_CUSTOM`` runs on the application's thread, so it hangs while the application blocks."""
        outcome: Future[Reply] = Future()

        def answered(done: Future[tuple[int, bytes]]) -> None:
            if done.cancelled():
                outcome.set_result(Reply(Result.CANCELLED))
            elif error := done.exception():
                outcome.set_exception(error)
            else:
                outcome.set_result(Reply(*done.result()))

        self._system.application.control_request(payload).add_done_callback(answered)
        return outcome

    def _serial_number(self, _payload: bytes) -> Reply:
        serial = self._machine.stored.serial_number
        return Reply(data=Writer().text(1, serial).finish()) if serial else NO_SERIAL_NUMBER

    def _start_listening(self, _payload: bytes) -> Reply:
        self._system.start_listening()
        return Reply()

    def _stop_listening(self, _payload: bytes) -> Reply:
        self._system.stop_listening()
        return Reply()

    def _connect(self, _payload: bytes) -> Reply:
        return Reply() if self._system.connect() else Reply(Result.NOT_SUPPORTED)

    def _disconnect(self, _payload: bytes) -> Reply:
        self._system.cloud.disconnect()
        return Reply()

    def _diagnostics(self, payload: bytes) -> Reply:
        """There is no asking for a part of it."""
        if payload:
            return Reply(Result.NOT_SUPPORTED)
        return Reply(data=diagnostics_json(self._system))

    def _module_info(self, _payload: bytes) -> Reply:
        machine = self._machine
        states = machine.modules()
        if self._version >= (5, 6, 0):
            return Reply(data=_module_table(machine.system_describe(), states))
        writer = Writer()
        for state in states:
            writer.message(1, _old_module(state))
        return Reply(data=writer.finish())


def diagnostics_json(system: OperatingSystem) -> bytes:
    """Diagnostics as ``DIAGNOSTICS`` and console key ``d`` give them."""
    machine = system.machine
    values = {
        "sys:reset": RESET_CODES.get(machine.last_reset_reason, RESET_CODES["unknown"]),
        "sys:uptime": system.uptime,
        "cloud:stat": int(system.cloud.state),
    }
    return json.dumps(values, separators=(",", ":")).encode()


def _module_table(describe: SystemDescribe, states: tuple[ModuleState, ...]) -> bytes:
    """Field 2, repeated: the modules of the Describe, here with the hash of every one of them."""
    writer = Writer()
    for encoded, state in zip(Fields(describe.to_protobuf()).all(1), states, strict=True):
        hash_ = b""
        if state.slot.function is not ModuleFunction.USER_PART:
            hash_ = Writer().data(8, _hash(state)).finish()
        writer.message(2, encoded + hash_)
    return writer.finish()


def _hash(state: ModuleState) -> bytes:
    """A module that is not in flash has the hash of its name and version."""
    if state.module is not None:
        return state.module.sha256
    return hashlib.sha256(f"{state.slot.function.name} {state.version}".encode()).digest()


def _old_module(state: ModuleState) -> Writer:
    """Device OS up to 5.5: type numbers of its own, size without CRC, validity 0 for good."""
    validity = 0 if Validity.INTEGRITY in state.valid else 1
    if Validity.DEPENDENCIES not in state.valid:
        validity |= 2
    size = state.module.size - CRC_SIZE if state.module is not None else 0
    writer = Writer().uint(1, OLD_MODULE_TYPES[state.slot.function]).uint(2, state.slot.index)
    writer.uint(3, state.version).uint(4, size).uint(5, validity)
    for need in state.dependencies:
        inner = (
            Writer().uint(1, OLD_MODULE_TYPES.get(need.function, 0)).uint(2, need.index).uint(3, need.version)
        )
        writer.message(6, inner)
    return writer
