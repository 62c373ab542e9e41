"""USB control requests: INIT, CHECK, SEND, RECV and RESET on endpoint 0. USB fact sheet 4.1 to 4.3 and 4.6.

One process talks to one board at a time: opening a channel drops what an earlier one left behind.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hil.device.control import DEVICE_IN, DEVICE_OUT, RECORD_LENGTH, Record, Service, Status
from hil.device.requests import ControlRequest
from hil.errors import RigError, WireError
from hil.usb.sysfs import UsbBoard
from hil.usb.transport import LibusbTransport, TransferError, UsbTransport

REQUEST_TIMEOUT = 60.0  # seconds
MAX_PAYLOAD = 0xFFFF
CHUNK = 4096  # Linux takes at most a page in one control transfer

_ALL = 0
_BACKOFF = (0.0, 0.005, 0.01, 0.02, 0.05, 0.05, 0.1, 0.1, 0.25, 0.25, 0.5, 0.5, 1.0)


@dataclass(frozen=True, slots=True)
class ControlReply:
    """What a request ended with: the result code and the reply's bytes."""

    result: int
    data: bytes


class RequestTimeout(RigError):
    """The board took a control request and did not finish it in time."""


class ControlChannel:
    """Control requests to one board, one at a time; threads wait for each other. A context manager."""

    def __init__(
        self,
        board: UsbBoard,
        transport: UsbTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.board = board
        self._usb = transport if transport is not None else LibusbTransport(board)
        self._sleep = sleep
        self._lock = threading.Lock()
        self._fresh = True

    def __enter__(self) -> ControlChannel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._usb.close()

    def request(
        self, request_id: int, payload: bytes = b"", timeout: float = REQUEST_TIMEOUT
    ) -> ControlReply:
        """Make a request and wait for its result.

        Raises ``TransferError`` when USB fails, ``RequestTimeout`` after ``timeout`` seconds (the board is told to
        forget the request). A negative result is returned, not raised.
        """
        if len(payload) > MAX_PAYLOAD:
            raise WireError(
                "control request is too large", expected="65535 bytes at most", found=str(len(payload))
            )
        with self._lock:
            self._begin()
            deadline = time.monotonic() + timeout
            handle = self._init(request_id, payload, deadline)
            try:
                if payload:
                    self._send(handle, payload)
                record = self._until_ok(request_id, handle, deadline)
            except RequestTimeout:
                self._service(Service.RESET, 0, handle)
                raise
            data = self._receive(handle, record.size) if record.size else b""
        if record.result is None:
            raise WireError(
                "control request ended without a result", expected="a result code", found=str(record)
            )
        return ControlReply(record.result, data)

    def raw_out(self, request_id: int) -> None:
        """A raw request that acts, also with a stuck application: ``RESET`` at once, or ``CLOUD_DISCONNECT``.

        The transfer of a reset always ends in an error, which is not reported.
        """
        try:
            self._usb.control_out(DEVICE_OUT, Service.RAW, 0, request_id, b"")
        except TransferError:
            if request_id != ControlRequest.RESET:
                raise

    def _begin(self) -> None:
        """Drop what a session before this one left behind, once."""
        if self._fresh:
            self._service(Service.RESET, 0, _ALL)
            self._fresh = False

    def _service(self, service: int, value: int, index: int) -> Record:
        return Record.decode(self._usb.control_in(DEVICE_IN, service, value, index, RECORD_LENGTH))

    def _init(self, request_id: int, payload: bytes, deadline: float) -> int:
        """Announce the request; the handle, once its buffer is there."""
        for delay in self._delays():
            record = self._service(Service.INIT, len(payload), request_id)
            if record.status is not Status.BUSY:
                break
            self._wait(delay, deadline, request_id, "the board has four requests going already")
        if record.handle is None or record.status not in (Status.OK, Status.PENDING):
            raise self._failed(request_id, record)
        if record.status is Status.PENDING:
            try:
                self._until_ok(request_id, record.handle, deadline)
            except RequestTimeout:
                self._service(Service.RESET, 0, record.handle)
                raise
        return record.handle

    def _until_ok(self, request_id: int, handle: int, deadline: float) -> Record:
        for delay in self._delays():
            record = self._service(Service.CHECK, 0, handle)
            if record.status is Status.OK:
                return record
            if record.status is not Status.PENDING:
                raise self._failed(request_id, record)
            self._wait(delay, deadline, request_id, "still pending")
        raise AssertionError("delays never end")

    def _send(self, handle: int, payload: bytes) -> None:
        for start in range(0, len(payload), CHUNK):
            self._usb.control_out(DEVICE_OUT, Service.SEND, 0, handle, payload[start : start + CHUNK])

    def _receive(self, handle: int, size: int) -> bytes:
        data = b""
        while len(data) < size:
            chunk = self._usb.control_in(DEVICE_IN, Service.RECV, 0, handle, min(CHUNK, size - len(data)))
            if not chunk:
                raise TransferError(f"{self.board} broke off a reply", found=f"{len(data)} of {size} bytes")
            data += chunk
        return data

    def _delays(self) -> Iterator[float]:
        yield from _BACKOFF
        while True:
            yield _BACKOFF[-1]

    def _wait(self, delay: float, deadline: float, request_id: int, why: str) -> None:
        if time.monotonic() + delay > deadline:
            raise RequestTimeout(
                f"control request {request_id} to {self.board} was not answered in time",
                found=why,
                hint="the application may be stuck: a request to it runs in its own thread",
            )
        self._sleep(delay)

    def _failed(self, request_id: int, record: Record) -> TransferError:
        hint = "another program talks to this board" if record.status is Status.NOT_FOUND else ""
        return TransferError(
            f"{self.board} did not take control request {request_id}",
            found=f"status {record.status.name.lower()}",
            hint=hint,
        )
