"""One connection to the API, and the deadlines of its client: real seconds, for the client is real.

uvicorn's own connection waits for a head or a body for ever. A request that is being answered has no deadline
here: its device and its stream have theirs.
"""

from __future__ import annotations

import asyncio
import logging
from enum import Enum, auto

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol
from uvicorn.server import ServerState

from hil.cloud.gateways.accepting import Guest, Pool
from hil.cloud.http.errors import ApiError
from hil.cloud.http.state import HttpOptions

# What strangers send is no news; what goes wrong in here is.
_LOG = logging.getLogger("hil.cloud.http")
_LOG.setLevel(logging.ERROR)

_FAREWELL = 2.0  # seconds that a client has for taking the last bytes
_STALLED_LATER = 2  # times as long as an event stream bears it, which ends by itself


class _Phase(Enum):
    """What a connection is waiting for."""

    IDLE = auto()  # the first byte of a request
    HEAD = auto()
    BODY = auto()
    ANSWER = auto()  # our own
    GOODBYE = auto()


class HttpConnection(H11Protocol, Guest):
    """As uvicorn's, with deadlines, and with a place in a pool: while it is answering it keeps it."""

    def __init__(self, config: uvicorn.Config, state: ServerState, options: HttpOptions, pool: Pool) -> None:
        H11Protocol.__init__(self, config, state, {})
        Guest.__init__(self)
        self.logger = _LOG
        self._pool = pool
        self._seconds = {
            _Phase.IDLE: options.idle_within,
            _Phase.HEAD: options.head_within,
            _Phase.BODY: options.body_within,
            _Phase.GOODBYE: _FAREWELL,
        }
        self._stalled_after = options.stalled_after * _STALLED_LATER
        self._waiting: tuple[_Phase, object] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        H11Protocol.connection_made(self, transport)
        Guest.connection_made(self, transport)
        self._look()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        self._pool.forget(self)
        for timer in (self._deadline, self._stalled):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(self._stalled_after, self.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()

    # What uvicorn calls

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._unset_keepalive_if_required()  # uvicorn's timer ends with the first byte of the next request
        self._look()

    def send_400_response(self, msg: str) -> None:
        """Bytes that are no HTTP: an error as all others, in JSON."""
        self._refuse(ApiError(400, "bad_request", msg))

    # Deadlines

    def _look(self) -> None:
        """See what the connection waits for now; for something new it gets its time."""
        phase = self._phase()
        self._pool.note(self, expendable=phase is not _Phase.ANSWER)
        waiting = (phase, self.cycle)  # two bodies one after the other are two waits
        if waiting == self._waiting:
            return
        self._waiting = waiting
        if self._deadline is not None:
            self._deadline.cancel()
        seconds = self._seconds.get(phase)
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self._too_late, phase)

    def _phase(self) -> _Phase:
        if self.transport.is_closing():
            return _Phase.GOODBYE
        if self.conn.their_state is h11.SEND_BODY:
            return _Phase.BODY
        if self.conn.their_state is not h11.IDLE:
            return _Phase.ANSWER
        return _Phase.HEAD if self.conn.trailing_data[0] else _Phase.IDLE

    def _too_late(self, phase: _Phase) -> None:
        if phase is _Phase.GOODBYE:
            self.abort()
            return
        if phase is _Phase.IDLE:
            self.transport.close()
        else:
            what = "head" if phase is _Phase.HEAD else "body"
            limit = f"{self._seconds[phase]:g} s"
            self._refuse(ApiError(408, "timeout", f"the {what} of the request did not come within {limit}"))
        self._look()

    def _refuse(self, error: ApiError) -> None:
        """Answer in place of the application, if it has not begun to, and close."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            answer = error.response()
            headers = [*answer.raw_headers, (b"connection", b"close")]
            head = h11.Response(
                status_code=error.status, headers=headers, reason=STATUS_PHRASES[error.status]
            )
            for part in (head, h11.Data(data=bytes(answer.body)), h11.EndOfMessage()):
                self.transport.write(self.conn.send(part) or b"")
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True  # its application has nobody to talk to any more
            self.cycle.message_event.set()
        self.transport.close()
