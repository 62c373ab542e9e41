"""Control requests 250 to 253: a firmware update over USB.

Facts: USB fact sheet 4.5 and 6.1; the largest file is the OTA slot's (protocol fact sheet 11.5).
"""

from __future__ import annotations

from collections.abc import Callable

from hil.device.protobuf import Fields, Writer
from hil.device.requests import ControlRequest
from hil.device.results import Result
from hil.virtual.deviceos.control import Reply
from hil.virtual.hardware.machine import Machine
from hil.virtual.hardware.profile import Profile

CHUNK_SIZE = 1024
_FORMAT_BIN = 0


class UpdateRequests:
    """The update in progress on one board, if any."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._limit = Profile(machine.platform, machine.device_os).max_binary
        self._expected: int | None = None
        self._file = bytearray()

    def handlers(self) -> dict[int, Callable[[bytes], Reply]]:
        """The four requests."""
        return {
            ControlRequest.BEGIN_UPDATE: self._begin,
            ControlRequest.FINISH_UPDATE: self._finish,
            ControlRequest.CANCEL_UPDATE: self._cancel,
            ControlRequest.UPDATE_DATA: self._data,
        }

    def _begin(self, payload: bytes) -> Reply:
        fields = Fields(payload)
        size, form = fields.uint(1), fields.uint(2)
        self._expected = None
        if form != _FORMAT_BIN:
            return Reply(Result.NOT_SUPPORTED)
        if size == 0:
            return Reply(Result.INVALID_ARGUMENT)
        if size > self._limit:
            return Reply(Result.TOO_LARGE)
        self._expected = size
        self._file = bytearray()
        return Reply(data=Writer().uint(1, CHUNK_SIZE).finish())

    def _data(self, payload: bytes) -> Reply:
        """A chunk that is refused ends the update."""
        expected, self._expected = self._expected, None
        chunk = Fields(payload).data(1)
        if expected is None:
            return Reply(Result.INVALID_STATE)
        if not 0 < len(chunk) <= expected - len(self._file):
            return Reply(Result.OUT_OF_RANGE)
        self._file += chunk
        self._expected = expected
        return Reply()

    def _finish(self, payload: bytes) -> Reply:
        validate_only = bool(Fields(payload).uint(1))
        if self._expected is None or len(self._file) != self._expected:
            self._expected = None
            return Reply(Result.INVALID_STATE)
        file = bytes(self._file)
        result = self._machine.validate_update(file)
        if validate_only:
            return Reply(result)
        self._expected = None
        if result != 0:
            return Reply(result)
        return Reply(then=lambda: self._machine.apply_update(file))

    def _cancel(self, _payload: bytes) -> Reply:
        self._expected = None
        return Reply()
