"""The device's side of the legacy update protocol (protocol fact sheet 4.1 and 11.5)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from hil.errors import WireError
from hil.wire.coap.message import Code, Message, Type, empty_ack
from hil.wire.messages import Kind, classify
from hil.wire.ota.common import CHUNK_SIZE, NextMid, Validate, acknowledge, chunk_count
from hil.wire.ota.legacy import messages

MISSING_LIMIT = 40  # an Argon before 3.0 asks for 20
SILENCE_LIMIT = 30.0  # Photon and P1; 300 s on cellular boards and every board with a network coprocessor

_KINDS = frozenset({Kind.UPDATE_BEGIN, Kind.SAVE, Kind.CHUNK, Kind.UPDATE_DONE})


@dataclass(slots=True)
class _Transfer:
    """A file on its way in."""

    size: int
    chunk_size: int
    fast: bool
    begin: Message
    buffer: bytearray = field(init=False)
    missing: set[int] = field(init=False)
    flight: int = 0  # chunks received since the last UpdateDone
    last_slow_mid: int | None = None

    def __post_init__(self) -> None:
        self.buffer = bytearray(self.size)
        self.missing = set(range(chunk_count(self.size, self.chunk_size)))

    def store(self, index: int, data: bytes) -> bool:
        """Put chunk ``index`` in its place; ``False`` if it is too short or lies outside the file.

        Padding behind the end of the file is dropped.
        """
        offset = index * self.chunk_size
        wanted = min(self.chunk_size, self.size - offset)
        if wanted <= 0 or len(data) < wanted:
            return False
        self.flight += 1
        if index in self.missing:
            self.buffer[offset : offset + wanted] = data[:wanted]
            self.missing.remove(index)
        return True


class LegacyReceiver:
    """Takes files from the cloud; see ``hil.wire.ota.common.OtaReceiver`` for the verbs.

    ``validate`` judges the whole file: 0 takes it, a negative number refuses it; either travels to the cloud as
    ``{"r":n}``. ``silence_limit`` is in seconds; after it the board resets (``timed_out``).
    """

    def __init__(
        self,
        max_file: int,
        reliable_transport: bool,
        next_mid: NextMid,
        validate: Validate,
        *,
        missing_limit: int = MISSING_LIMIT,
        silence_limit: float = SILENCE_LIMIT,
        max_chunk: int = CHUNK_SIZE,
    ) -> None:
        self._max_file = max_file
        self._confirmable = not reliable_transport
        self._next_mid = next_mid
        self._validate = validate
        self._missing_limit = missing_limit
        self._silence_limit = silence_limit
        self._max_chunk = max_chunk
        self._transfer: _Transfer | None = None
        self._verdict = b""
        self._last_activity = 0.0
        self.complete: bytes | None = None
        self.error: str | None = None
        self.timed_out = False

    @property
    def active(self) -> bool:
        return self._transfer is not None

    def wants(self, message: Message) -> bool:
        return message.is_request and classify(message) in _KINDS

    def receive(self, message: Message, now: float) -> list[Message]:
        kind = classify(message)
        self._last_activity = now
        if kind is Kind.CHUNK:
            return self._on_chunk(message)
        if message.type is not Type.CON:
            return []
        if kind in (Kind.UPDATE_BEGIN, Kind.SAVE):
            return self._on_begin(message)
        return self._on_done(message) if kind is Kind.UPDATE_DONE else []

    def tick(self, now: float) -> list[Message]:
        deadline = self.next_deadline()
        if deadline is not None and now >= deadline:
            self._transfer = None
            self.timed_out = True
            self.error = f"no update message for {self._silence_limit:g} s"
        return []

    def next_deadline(self) -> float | None:
        return self._last_activity + self._silence_limit if self._transfer else None

    def _on_begin(self, message: Message) -> list[Message]:
        transfer = self._transfer
        if transfer is None or message != transfer.begin:  # one that comes twice does not start over
            refusal = self._begin(message)
            if refusal:
                self.error = refusal
                return [Message(Type.ACK, Code.SERVICE_UNAVAILABLE, message.mid, message.token)]
            transfer = self._transfer
        fast = transfer is not None and transfer.fast
        ready = messages.update_ready(
            self._next_mid(), message.token, fast=fast, confirmable=self._confirmable
        )
        return [empty_ack(message.mid), ready]

    def _begin(self, message: Message) -> str | None:
        """Make room for the file that is offered; or the reason why not."""
        try:
            offer = messages.parse_update_begin(message)
        except WireError as error:
            return str(error)
        if not 0 < offer.file_size <= self._max_file:
            return f"file of {offer.file_size} bytes, at most {self._max_file} fit"
        if not 0 < offer.chunk_size <= self._max_chunk:
            return f"chunks of {offer.chunk_size} bytes, at most {self._max_chunk} fit"
        if offer.store or offer.address:
            return f"store {offer.store} address 0x{offer.address:x}: only firmware is taken"
        fast = bool(offer.flags & messages.BeginFlag.FAST)
        self._transfer = _Transfer(offer.file_size, offer.chunk_size, fast, message)
        self.complete = self.error = None
        self._verdict = b""
        self.timed_out = False
        return None

    def _on_chunk(self, message: Message) -> list[Message]:
        transfer = self._transfer
        try:
            chunk = messages.parse_chunk(message)
        except WireError:
            return []
        # In fast mode a device answers no chunk, not even a CON one.
        if transfer is not None and transfer.fast:
            if chunk.intact and chunk.index is not None:
                transfer.store(chunk.index, chunk.data)
            return []
        stored = transfer is not None and self._store_slow(transfer, message, chunk)
        answer = messages.chunk_received(
            self._next_mid(), message.token, intact=stored, confirmable=self._confirmable
        )
        return [*acknowledge(message), answer]

    @staticmethod
    def _store_slow(transfer: _Transfer, message: Message, chunk: messages.Chunk) -> bool:
        """Chunks come strictly in order, so one that comes twice is known by its message id alone."""
        if message.mid == transfer.last_slow_mid:
            return True
        following = min(transfer.missing, default=None)
        if following is None or not chunk.intact or not transfer.store(following, chunk.data):
            return False
        transfer.last_slow_mid = message.mid
        return True

    def _on_done(self, message: Message) -> list[Message]:
        transfer = self._transfer
        if transfer is not None and transfer.missing:
            return [self._answer(message, Code.BAD_REQUEST), self._ask_for_missing(transfer)]
        if transfer is not None:
            self._finish(bytes(transfer.buffer))
        elif not self._verdict:
            return [self._answer(message, Code.BAD_REQUEST)]
        return [self._answer(message, Code.CHANGED, self._verdict)]

    def _finish(self, file: bytes) -> None:
        self._transfer = None
        result = self._validate(file)
        self._verdict = json.dumps({"r": result}, separators=(",", ":")).encode()
        if result < 0:
            self.error = f"file refused with result {result}"
        else:
            self.complete = file

    def _ask_for_missing(self, transfer: _Transfer) -> Message:
        """As many as came last time and a fifth more: what the path can bear (protocol fact sheet 4.1)."""
        bearable = transfer.flight + max(transfer.flight // 5, 2)
        transfer.flight = 0
        indices = sorted(transfer.missing)[: min(bearable, self._missing_limit)]
        return messages.chunk_missed(self._next_mid(), indices, confirmable=self._confirmable)

    def _answer(self, request: Message, code: Code, payload: bytes = b"") -> Message:
        return Message(Type.ACK, code, request.mid, request.token, payload=payload)
