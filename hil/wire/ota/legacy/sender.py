"""The cloud's side of the legacy update protocol (protocol fact sheet 4.1).

Fast mode puts chunks out as NON messages in paced batches and sends again what the device says it missed; slow
mode sends one CON chunk at a time and waits for its answer. Answers are matched by token: over TCP a device
numbers its acknowledgements afresh (section 10).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum, auto

from hil.errors import WireError
from hil.wire.coap.message import Code, Message, Type, code_text
from hil.wire.messages import Kind, classify
from hil.wire.ota.common import (
    CHUNK_SIZE,
    NextMid,
    NextToken,
    Pace,
    acknowledge,
    check_file,
    chunk_count,
    is_refusal,
    response_text,
    result_code,
)
from hil.wire.ota.legacy import messages

UDP_PACE = Pace(burst=4, interval=0.02)  # 100 KB/s: nothing tells a sender of fast chunks that they are lost
TCP_PACE = Pace(burst=16, interval=0.005)
READY_TIMEOUT = 60.0  # erasing the flash of a board takes seconds
ANSWER_TIMEOUT = 90.0  # a CON message to or from the device fails after 60 to 90 s (protocol fact sheet 2.8)
MAX_SENDS_PER_CHUNK = 5
MAX_ROUNDS = 200


class _State(Enum):
    IDLE = auto()
    OFFERED = auto()  # UpdateBegin is out, UpdateReady is awaited
    FLYING = auto()  # fast mode: batches of chunks are going out
    CHUNK = auto()  # slow mode: one chunk is out
    DONE = auto()  # UpdateDone is out
    MISSED = auto()  # the device said that chunks are missing, and is to say which
    ENDED = auto()


class LegacySender:
    """Sends one file to a device; see ``hil.wire.ota.common.OtaSender`` for the verbs."""

    def __init__(
        self,
        file: bytes,
        *,
        chunk_size: int = CHUNK_SIZE,
        fast: bool = True,
        reliable_transport: bool,
        next_mid: NextMid,
        next_token: NextToken,
        pace: Pace | None = None,
        ready_timeout: float = READY_TIMEOUT,
        answer_timeout: float = ANSWER_TIMEOUT,
    ) -> None:
        self._file = check_file(file)
        self._chunk_size = chunk_size
        self._fast = fast
        self._next_mid = next_mid
        self._next_token = next_token
        self._pace = pace or (TCP_PACE if reliable_transport else UDP_PACE)
        self._ready_timeout = ready_timeout
        self._answer_timeout = answer_timeout
        self._count = chunk_count(len(file), chunk_size)
        self._pending: deque[int] = deque(range(self._count))
        self._state = _State.IDLE
        self._token = b""  # of the message whose answer is awaited
        self._mid: int | None = None
        self._chunk_token = b""
        self._sends = 0
        self._rounds = 0
        self._deadline: float | None = None
        self.finished = False
        self.error: str | None = None
        self.result = ""

    @property
    def progress(self) -> tuple[int, int]:
        """Bytes sent and bytes in all; the first falls back when the device asks for missing chunks."""
        sent = (self._count - len(self._pending)) * self._chunk_size
        return min(sent, len(self._file)), len(self._file)

    def start(self, now: float) -> list[Message]:
        flags = messages.BeginFlag.FAST if self._fast else messages.BeginFlag.NONE
        begin = messages.UpdateBegin(flags, self._chunk_size, len(self._file))
        self._await(_State.OFFERED, now + self._ready_timeout)
        return [messages.update_begin(self._expect_answer(), self._token, begin)]

    def wants(self, message: Message) -> bool:
        if self._state is _State.IDLE:
            return False
        if message.is_response:
            return message.token == self._token
        if message.type is Type.RST:
            return message.mid == self._mid
        return classify(message) is Kind.CHUNK_MISSED

    def receive(self, message: Message, now: float) -> list[Message]:
        replies = acknowledge(message)
        if self._state in (_State.IDLE, _State.ENDED):
            return replies
        if message.type is Type.RST:
            self._fail("device reset the update")
        elif message.is_request:
            replies += self._on_missed(message, now)
        elif message.token == self._token and message.is_response:
            handler = self._handlers().get(self._state)
            replies += handler(message, now) if handler else []
        return replies

    def tick(self, now: float) -> list[Message]:
        if self._deadline is None or now < self._deadline:
            return []
        if self._state is _State.FLYING:
            return self._batch(now)
        self._fail(
            {
                _State.OFFERED: f"no UpdateReady within {self._ready_timeout:g} s",
                _State.CHUNK: f"no answer to a chunk within {self._answer_timeout:g} s",
                _State.DONE: f"no answer to UpdateDone within {self._answer_timeout:g} s",
                _State.MISSED: f"no list of missing chunks within {self._answer_timeout:g} s",
            }[self._state]
        )
        return []

    def next_deadline(self) -> float | None:
        return self._deadline

    def _handlers(self) -> dict[_State, Callable[[Message, float], list[Message]]]:
        return {
            _State.OFFERED: self._on_ready,
            _State.CHUNK: self._on_chunk_received,
            _State.DONE: self._on_done,
        }

    def _on_ready(self, message: Message, now: float) -> list[Message]:
        if is_refusal(message):
            self._fail(
                f"device refused the update: {code_text(message.code)} {response_text(message)}".rstrip()
            )
            return []
        self._fast = self._fast and message.payload[:1] == b"\x01"
        self._chunk_token = self._next_token() if self._fast else b""
        return self._send_on(now)

    def _on_chunk_received(self, message: Message, now: float) -> list[Message]:
        if not is_refusal(message):
            self._pending.popleft()
            self._sends = 0
        elif self._sends >= MAX_SENDS_PER_CHUNK:
            self._fail(
                f"device refused chunk {self._pending[0]} {self._sends} times: {code_text(message.code)}"
            )
            return []
        return self._send_on(now)

    def _on_done(self, message: Message, now: float) -> list[Message]:
        if message.code == Code.BAD_REQUEST:
            self._await(_State.MISSED, now + self._answer_timeout)
            return []
        self.result = response_text(message)
        code = result_code(self.result)
        if is_refusal(message):
            self._fail(f"device refused the file: {code_text(message.code)} {self.result}".rstrip())
        elif code is not None and code < 0:
            self._fail(f"device refused the file: result {code}")
        else:
            self.finished = True
            self._await(_State.ENDED, None)
        return []

    def _on_missed(self, message: Message, now: float) -> list[Message]:
        if self._state in (_State.OFFERED, _State.CHUNK):
            return []
        try:
            indices = messages.parse_chunk_missed(message)
        except WireError as error:
            self._fail(str(error))
            return []
        known = set(self._pending)
        self._pending.extend(index for index in indices if index < self._count and index not in known)
        if self._state is _State.FLYING:
            return []
        self._rounds += 1
        if self._rounds > MAX_ROUNDS:
            self._fail(f"device still misses chunks after {MAX_ROUNDS} rounds")
            return []
        return self._send_on(now)

    def _send_on(self, now: float) -> list[Message]:
        """What comes next: chunks while there are any, then UpdateDone."""
        if self._fast:
            return self._batch(now)
        if not self._pending:
            return self._done(now)
        self._sends += 1
        self._await(_State.CHUNK, now + self._answer_timeout)
        mid = self._expect_answer()
        return [messages.chunk(mid, self._token, self._data(self._pending[0]), None, confirmable=True)]

    def _batch(self, now: float) -> list[Message]:
        """Up to a burst of chunks; UpdateDone follows the last one."""
        batch: list[Message] = []
        while self._pending and len(batch) < self._pace.burst:
            index = self._pending.popleft()
            data = self._data(index)
            batch.append(messages.chunk(self._next_mid(), self._chunk_token, data, index, confirmable=False))
        if self._pending:
            self._await(_State.FLYING, now + self._pace.interval)
            return batch
        return batch + self._done(now)

    def _done(self, now: float) -> list[Message]:
        self._await(_State.DONE, now + self._answer_timeout)
        return [messages.update_done(self._expect_answer(), self._token)]

    def _data(self, index: int) -> bytes:
        return self._file[index * self._chunk_size : (index + 1) * self._chunk_size]

    def _expect_answer(self) -> int:
        """A fresh token to match the answer with, and the message id for the request."""
        self._token = self._next_token()
        self._mid = self._next_mid()
        return self._mid

    def _await(self, state: _State, deadline: float | None) -> None:
        self._state = state
        self._deadline = deadline

    def _fail(self, reason: str) -> None:
        self.error = reason
        self._await(_State.ENDED, None)
