"""The control interface's transport: INIT, CHECK, SEND, RECV and RESET on endpoint 0.

Facts: USB fact sheet 4.1 to 4.3. What a request does is in ``control_handlers`` and its neighbours.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from enum import Enum, auto

from hil.device.control import DEVICE_IN, DEVICE_OUT, MAX_ACTIVE, RECORD_LENGTH, Record, Service, Status
from hil.device.results import Result
from hil.virtual.kernel.usbdevice import Setup, Stall

POOL_BUFFER_SIZE = 64


@dataclass(frozen=True, slots=True)
class Reply:
    """Outcome of a request. ``result`` is 0, a negative system error or a positive number of the application.

    ``then`` runs once the host has fetched all of it, or gave the request up.
    """

    result: int = 0
    data: bytes = b""
    then: Callable[[], None] | None = None


Dispatch = Callable[[int, bytes], "Reply | Future[Reply]"]


class _Stage(Enum):
    ALLOC_PENDING = auto()
    RECV_PAYLOAD = auto()
    PENDING = auto()
    DONE = auto()


@dataclass(slots=True)
class _Request:
    type: int
    size: int
    stage: _Stage
    payload: bytearray
    reply: Reply | None = None
    sent: int = 0


class ControlChannel:
    """The requests that are active on one board.

    ``dispatch(type, payload)`` starts a request; it is called outside the channel's lock and may answer with a future.
    ``announced(type)`` is called as soon as the host says that a request will come.
    """

    def __init__(self, dispatch: Dispatch, announced: Callable[[int], None] = lambda _type: None) -> None:
        self._dispatch = dispatch
        self._announced = announced
        self._lock = threading.RLock()
        self._requests: dict[int, _Request] = {}
        self._last_handle = 0

    def service(self, setup: Setup, data: bytes) -> bytes:
        """Answer a service request. Raises ``Stall``."""
        if setup.bm_request_type == DEVICE_IN and setup.b_request in (
            Service.INIT,
            Service.CHECK,
            Service.RESET,
        ):
            if setup.w_length < RECORD_LENGTH:
                raise Stall("reply does not fit")
            answer = {Service.INIT: self._init, Service.CHECK: self._check, Service.RESET: self._reset}
            return answer[Service(setup.b_request)](setup)
        if setup.bm_request_type == DEVICE_IN and setup.b_request == Service.RECV:
            return self._recv(setup)
        if setup.bm_request_type == DEVICE_OUT and setup.b_request == Service.SEND:
            self._send(setup, data)
            return b""
        raise Stall(f"no such service {setup.b_request}")

    def forget_all(self) -> None:
        """Give all requests up, as a reset of the bus does."""
        with self._lock:
            dropped = list(self._requests.values())
            self._requests.clear()
        for request in dropped:
            _finish(request)

    def _init(self, setup: Setup) -> bytes:
        with self._lock:
            if len(self._requests) >= MAX_ACTIVE:
                return Record(Status.BUSY).encode()
            handle = self._free_handle()
            size = setup.w_value
            stage = _Stage.ALLOC_PENDING if size > POOL_BUFFER_SIZE else _Stage.RECV_PAYLOAD
            request = _Request(setup.w_index, size, stage, bytearray())
            self._requests[handle] = request
        self._announced(request.type)
        if size == 0:
            self._start(request)
        status = Status.PENDING if stage is _Stage.ALLOC_PENDING else Status.OK
        return Record(status, handle=handle).encode()

    def _check(self, setup: Setup) -> bytes:
        with self._lock:
            request = self._requests.get(setup.w_index)
            if request is None:
                return Record(Status.NOT_FOUND).encode()
            if request.stage is _Stage.ALLOC_PENDING:
                request.stage = _Stage.RECV_PAYLOAD
            if request.stage is _Stage.RECV_PAYLOAD:
                return Record(Status.OK).encode()
            reply = request.reply
            if reply is None:
                return Record(Status.PENDING).encode()
            if reply.data:
                return Record(Status.OK, size=len(reply.data), result=reply.result).encode()
            del self._requests[setup.w_index]
        _finish(request)
        return Record(Status.OK, result=reply.result).encode()

    def _send(self, setup: Setup, data: bytes) -> None:
        with self._lock:
            request = self._requests.get(setup.w_index)
            if request is None or request.stage is not _Stage.RECV_PAYLOAD:
                raise Stall("no payload expected")
            if not 0 < len(data) <= request.size - len(request.payload):
                raise Stall("payload too long")
            request.payload += data
            complete = len(request.payload) == request.size
        if complete:
            self._start(request)

    def _recv(self, setup: Setup) -> bytes:
        with self._lock:
            request = self._requests.get(setup.w_index)
            if request is None or request.reply is None:
                raise Stall("no reply")
            end = request.sent + setup.w_length
            if setup.w_length == 0 or end > len(request.reply.data):
                raise Stall("more than there is")
            part = request.reply.data[request.sent : end]
            request.sent = end
            complete = end == len(request.reply.data)
            if complete:
                del self._requests[setup.w_index]
        if complete:
            _finish(request)
        return part

    def _reset(self, setup: Setup) -> bytes:
        if setup.w_index == 0:
            self.forget_all()
            return Record(Status.OK).encode()
        with self._lock:
            request = self._requests.pop(setup.w_index, None)
        if request is None:
            return Record(Status.NOT_FOUND).encode()
        _finish(request)
        return Record(Status.OK).encode()

    def _start(self, request: _Request) -> None:
        request.stage = _Stage.PENDING
        outcome = self._dispatch(request.type, bytes(request.payload))
        if isinstance(outcome, Reply):
            self._done(request, outcome)
        else:
            outcome.add_done_callback(lambda future: self._done(request, _reply_of(future)))

    def _done(self, request: _Request, reply: Reply) -> None:
        with self._lock:
            request.reply = reply
            request.stage = _Stage.DONE

    def _free_handle(self) -> int:
        while True:
            self._last_handle = self._last_handle % 0xFFFF + 1
            if self._last_handle not in self._requests:
                return self._last_handle


def _finish(request: _Request) -> None:
    if request.reply is not None and request.reply.then is not None:
        request.reply.then()


def _reply_of(future: Future[Reply]) -> Reply:
    """A request whose handler broke is answered, not left hanging."""
    if future.cancelled() or future.exception() is not None:
        return Reply(Result.INTERNAL)
    return future.result()
