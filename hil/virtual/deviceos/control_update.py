"""Control requests 250 to 253: a firmware update over USB.

Facts: USB fact sheet 4.5 and 6.1; the largest file is the OTA slot's (protocol fact sheet 11.5).
"""

from __future__ import annotations

from collections.abc import Callable

from hil.device.protobuf import Fields, Writer
from hil.virtual.deviceos.control import Reply
from hil.virtual.hardware.machine import Machine
from hil.virtual.hardware.profile import Profile

CHUNK_SIZE = 1024
_TOO_LARGE = Reply(-190)
_INVALID_STATE = Reply(-210)
_INVALID_ARGUMENT = Reply(-270)
_OUT_OF_RANGE = Reply(-290)
_NOT_SUPPORTED = Reply(-120)
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
        return {250: self._begin, 251: self._finish, 252: self._cancel, 253: self._data}

    def _begin(self, payload: bytes) -> Reply:
        fields = Fields(payload)
        size, form = fields.uint(1), fields.uint(2)
        self._expected = None
        if form != _FORMAT_BIN:
            return _NOT_SUPPORTED
        if size == 0:
            return _INVALID_ARGUMENT
        if size > self._limit:
            return _TOO_LARGE
        self._expected = size
        self._file = bytearray()
        return Reply(data=Writer().uint(1, CHUNK_SIZE).finish())

    def _data(self, payload: bytes) -> Reply:
        """A chunk that is refused ends the update."""
        expected, self._expected = self._expected, None
        chunk = Fields(payload).data(1)
        if expected is None:
            return _INVALID_STATE
        if not 0 < len(chunk) <= expected - len(self._file):
            return _OUT_OF_RANGE
        self._file += chunk
        self._expected = expected
        return Reply()

    def _finish(self, payload: bytes) -> Reply:
        validate_only = bool(Fields(payload).uint(1))
        if self._expected is None or len(self._file) != self._expected:
            self._expected = None
            return _INVALID_STATE
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
