"""The cloud's side of OTA protocol V3 (protocol fact sheet 4.2)."""

from __future__ import annotations

import hashlib
from collections import deque
from enum import Enum, auto

from hil.errors import UsageError, WireError
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
)
from hil.wire.ota.v3 import messages
from hil.wire.ota.v3.windows import SendWindow

PACE = Pace(burst=16, interval=0.01)
READY_TIMEOUT = 60.0
ANSWER_TIMEOUT = 90.0  # a CON message to or from the device fails after 60 to 90 s (protocol fact sheet 2.8)
STALL_TIMEOUT = 120.0  # well inside the 300 s after which the device gives up
REPEAT_AFTER = 1.0
REPEAT_AFTER_MOST = 8.0


class _State(Enum):
    IDLE = auto()
    OFFERED = auto()
    SENDING = auto()
    FINISHING = auto()
    ENDED = auto()


class V3Sender:
    """Sends one file to a device; see ``hil.wire.ota.common.OtaSender`` for the verbs.

    The device applies the file when it gets the ACK of its answer to UpdateFinish, which ``receive`` returns.
    """

    def __init__(
        self,
        file: bytes,
        *,
        chunk_size: int = CHUNK_SIZE,
        next_mid: NextMid,
        next_token: NextToken,
        resumable: bool = True,
        module_function: int | None = None,
        pace: Pace = PACE,
        ready_timeout: float = READY_TIMEOUT,
        answer_timeout: float = ANSWER_TIMEOUT,
        stall_timeout: float = STALL_TIMEOUT,
    ) -> None:
        if chunk_size % 4 or not messages.MIN_CHUNK_SIZE <= chunk_size <= messages.MAX_CHUNK_SIZE:
            raise UsageError("chunk size", expected="a multiple of 4 from 512 to 1136", found=str(chunk_size))
        self._file = check_file(file)
        self._chunk_size = chunk_size
        self._next_mid = next_mid
        self._next_token = next_token
        self._resumable = resumable
        self._module_function = module_function
        self._pace = pace
        self._ready_timeout = ready_timeout
        self._answer_timeout = answer_timeout
        self._stall_timeout = stall_timeout
        self._state = _State.IDLE
        self._token = b""
        self._mids: deque[int] = deque(maxlen=512)
        self._window = SendWindow(0, 1)
        self._offset = 0
        self._deadline = 0.0  # for the answer awaited, or for the next chunk to be acknowledged
        self._next_batch = 0.0
        self._repeat_at = 0.0
        self._repeat_after = REPEAT_AFTER
        self.finished = False
        self.error: str | None = None
        self.result = ""

    @property
    def progress(self) -> tuple[int, int]:
        """Bytes the device has, and bytes in all."""
        stored = self._offset + self._window.cumulative * self._chunk_size
        return min(stored, len(self._file)), len(self._file)

    def start(self, now: float) -> list[Message]:
        sha256 = hashlib.sha256(self._file).digest() if self._resumable else None
        offer = messages.UpdateStart(
            len(self._file), self._chunk_size, sha256, module_function=self._module_function
        )
        self._await(_State.OFFERED, now + self._ready_timeout)
        return [messages.update_start(self._expect_answer(), self._token, offer)]

    def cancel(self, *, discard: bool = True) -> list[Message]:
        """Call the update off; ``discard`` has the device drop what it has stored."""
        if self._state in (_State.IDLE, _State.ENDED):
            return []
        self._fail("update cancelled")
        mid = self._expect_answer()
        return [messages.update_finish(mid, self._token, cancel=True, discard=discard)]

    def wants(self, message: Message) -> bool:
        if self._state is _State.IDLE:
            return False
        if message.is_response:
            return message.token == self._token
        if message.type is Type.RST:
            return message.mid in self._mids
        return classify(message) is Kind.V3_ACK

    def receive(self, message: Message, now: float) -> list[Message]:
        replies = acknowledge(message)
        if self._state in (_State.IDLE, _State.ENDED):
            return replies
        try:
            return replies + self._react(message, now)
        except WireError as error:
            self._fail(str(error))
            return replies

    def tick(self, now: float) -> list[Message]:
        deadline = self.next_deadline()
        if deadline is None or now < deadline:
            return []
        if now >= self._deadline:
            self._fail(
                {
                    _State.OFFERED: f"no answer to UpdateStart within {self._ready_timeout:g} s",
                    _State.SENDING: f"device acknowledged nothing new for {self._stall_timeout:g} s",
                    _State.FINISHING: f"no answer to UpdateFinish within {self._answer_timeout:g} s",
                }[self._state]
            )
            return []
        if now >= self._repeat_at:
            self._window.expire()
            self._repeat_after = min(2 * self._repeat_after, REPEAT_AFTER_MOST)
            self._repeat_at = now + self._repeat_after
        return self._batch(now)

    def next_deadline(self) -> float | None:
        if self._state in (_State.IDLE, _State.ENDED):
            return None
        if self._state is not _State.SENDING:
            return self._deadline
        following = self._next_batch if self._window.sendable else self._repeat_at
        return min(self._deadline, self._repeat_at, following)

    def _react(self, message: Message, now: float) -> list[Message]:
        if message.type is Type.RST:
            self._fail("device reset the update")
        elif message.is_request:
            return self._on_ack(message, now) if self._state is _State.SENDING else []
        elif message.token != self._token:
            return []
        elif is_refusal(message):
            self._fail(
                f"device refused the update: {code_text(message.code)} {response_text(message)}".rstrip()
            )
        elif self._state is _State.OFFERED and message.code == Code.CREATED:
            return self._on_start_reply(message, now)
        elif self._state is _State.FINISHING and message.code == Code.CHANGED:
            self.result = response_text(message)
            self.finished = True
            self._state = _State.ENDED
        return []

    def _on_start_reply(self, message: Message, now: float) -> list[Message]:
        reply = messages.parse_start_reply(message)
        if reply.offset > len(self._file):
            raise WireError(
                "device starts behind the end of the file",
                expected=f"at most {len(self._file)}",
                found=str(reply.offset),
            )
        self._offset = reply.offset
        count = chunk_count(len(self._file) - reply.offset, self._chunk_size)
        self._window = SendWindow(count, reply.window)
        self._await(_State.SENDING, now + self._stall_timeout)
        self._next_batch = now
        self._restart_timer(now)
        return self._batch(now) if count else self._finish(now)

    def _on_ack(self, message: Message, now: float) -> list[Message]:
        ack = messages.parse_update_ack(message)
        if self._window.acknowledge(ack.cumulative, ack.early):
            self._deadline = now + self._stall_timeout
            self._restart_timer(now)
        return self._finish(now) if self._window.done else self._batch(now)

    def _batch(self, now: float) -> list[Message]:
        if now < self._next_batch:
            return []
        batch = [
            messages.update_chunk(self._new_mid(), index, self._data(index))
            for index in self._window.take(self._pace.burst)
        ]
        if batch:
            self._next_batch = now + self._pace.interval
        return batch

    def _finish(self, now: float) -> list[Message]:
        self._await(_State.FINISHING, now + self._answer_timeout)
        return [messages.update_finish(self._expect_answer(), self._token)]

    def _data(self, index: int) -> bytes:
        start = self._offset + (index - 1) * self._chunk_size
        return self._file[start : start + self._chunk_size]

    def _restart_timer(self, now: float) -> None:
        self._repeat_after = REPEAT_AFTER
        self._repeat_at = now + REPEAT_AFTER

    def _expect_answer(self) -> int:
        """A fresh token to match the answer with, and the message id for the request."""
        self._token = self._next_token()
        return self._new_mid()

    def _new_mid(self) -> int:
        """A message id that a reset of the device can be told by."""
        mid = self._next_mid()
        self._mids.append(mid)
        return mid

    def _await(self, state: _State, deadline: float) -> None:
        self._state = state
        self._deadline = deadline

    def _fail(self, reason: str) -> None:
        self.error = reason
        self._state = _State.ENDED
