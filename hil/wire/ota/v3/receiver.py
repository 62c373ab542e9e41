"""The device's side of OTA protocol V3 (protocol fact sheet 4.2 and 11.5).

Every update starts at offset 0: nothing is kept from one that was broken off.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from hil.device.results import Result
from hil.errors import WireError
from hil.wire.coap.message import Message, Option, Type, empty_ack, reset
from hil.wire.messages import Kind, classify
from hil.wire.ota.common import NextMid, Validate, chunk_count
from hil.wire.ota.v3 import messages
from hil.wire.ota.v3.windows import Arrival, ReceiveWindow

RECEIVE_WINDOW = 131072  # bytes
SILENCE_LIMIT = 300.0
ACK_AFTER_CHUNKS = 2
ACK_AFTER_SECONDS = 0.2

_KINDS = frozenset({Kind.V3_START, Kind.V3_CHUNK, Kind.V3_FINISH})


@dataclass(slots=True)
class _Transfer:
    """A file on its way in, with the figures the device reports at the end."""

    offer: messages.UpdateStart
    request: Message
    last_chunk: float
    window: ReceiveWindow = field(init=False)
    buffer: bytearray = field(init=False)
    unacknowledged: int = 0
    gaps: bool = False
    received: int = 0
    duplicates: int = 0
    out_of_order: int = 0
    acks: int = 0

    def __post_init__(self) -> None:
        count = chunk_count(self.offer.file_size, self.offer.chunk_size)
        self.window = ReceiveWindow(count, RECEIVE_WINDOW // self.offer.chunk_size)
        self.buffer = bytearray(self.offer.file_size)

    def expected_size(self, index: int) -> int:
        """The length of chunk ``index``; 0 when there is no such chunk."""
        if not 1 <= index <= self.window.count:
            return 0
        return min(self.offer.chunk_size, self.offer.file_size - (index - 1) * self.offer.chunk_size)

    def store(self, index: int, data: bytes) -> bool:
        """Take a chunk of the right size; whether it calls for an acknowledgement at once."""
        in_order = index == self.window.cumulative + 1 or index - 1 in self.window.early
        arrival = self.window.add(index)
        if arrival is Arrival.OUTSIDE:
            return False
        if arrival is Arrival.NEW:
            offset = (index - 1) * self.offer.chunk_size
            self.buffer[offset : offset + len(data)] = data
            self.out_of_order += not in_order
        else:
            self.duplicates += 1
        self.unacknowledged += 1
        had_gaps, self.gaps = self.gaps, bool(self.window.early)
        return (
            arrival is Arrival.DUPLICATE
            or self.gaps
            or had_gaps
            or self.window.done
            or self.unacknowledged >= ACK_AFTER_CHUNKS
        )

    def stats(self) -> dict[str, int]:
        return {
            "recv_chunks": self.received,
            "dup_chunks": self.duplicates,
            "ooo_chunks": self.out_of_order,
            "sent_acks": self.acks,
            "proc_time": 0,
        }


class V3Receiver:
    """Takes files from the cloud; see ``hil.wire.ota.common.OtaReceiver`` for the verbs.

    ``validate`` judges the whole file: 0 takes it, a negative system error refuses it. ``drop_connection`` turns
    true when the device would now close its session: a fatal error has been reported, or silence lasted too long.
    """

    def __init__(
        self,
        max_file: int,
        next_mid: NextMid,
        validate: Validate,
        *,
        silence_limit: float = SILENCE_LIMIT,
    ) -> None:
        self._max_file = max_file
        self._next_mid = next_mid
        self._validate = validate
        self._silence_limit = silence_limit
        self._transfer: _Transfer | None = None
        self._finish_mid: int | None = None
        self._fatal_mid: int | None = None
        self.complete: bytes | None = None
        self.error: str | None = None
        self.timed_out = False
        self.drop_connection = False

    @property
    def active(self) -> bool:
        return self._transfer is not None

    def wants(self, message: Message) -> bool:
        if message.type in (Type.ACK, Type.RST):
            return message.mid in (self._finish_mid, self._fatal_mid)
        return message.is_request and classify(message) in _KINDS

    def receive(self, message: Message, now: float) -> list[Message]:
        if message.type in (Type.ACK, Type.RST):
            self._on_confirmation(message)
            return []
        kind = classify(message)
        try:
            if kind is Kind.V3_CHUNK:
                return self._on_chunk(message, now)
            if kind is Kind.V3_START:
                return self._on_start(message, now)
            return self._on_finish(message) if kind is Kind.V3_FINISH else []
        except WireError as error:
            return self._refuse_unseen(message, str(error))

    def tick(self, now: float) -> list[Message]:
        transfer = self._transfer
        if transfer is None:
            return []
        if now >= transfer.last_chunk + self._silence_limit:
            self._abort(f"no chunk for {self._silence_limit:g} s")
            self.timed_out = self.drop_connection = True
        elif transfer.unacknowledged and now >= transfer.last_chunk + ACK_AFTER_SECONDS:
            return [self._ack(transfer)]
        return []

    def next_deadline(self) -> float | None:
        if self._transfer is None:
            return None
        wait = ACK_AFTER_SECONDS if self._transfer.unacknowledged else self._silence_limit
        return self._transfer.last_chunk + wait

    def _on_start(self, message: Message, now: float) -> list[Message]:
        offer = messages.parse_update_start(message)
        if message.type is not Type.CON:
            raise WireError("UpdateStart", expected="CON", found=message.type.name)
        if offer.file_size > self._max_file:
            text = f"file of {offer.file_size} bytes, at most {self._max_file} fit"
            return self._report_fatal(message, Result.TOO_LARGE, text)
        transfer = self._transfer
        if transfer is None or message != transfer.request:  # one that comes twice does not start over
            transfer = self._transfer = _Transfer(offer, message, now)
            self.complete = self.error = self._finish_mid = self._fatal_mid = None
            self.timed_out = self.drop_connection = False
        reply = messages.StartReply(transfer.window.size, 0)
        return [empty_ack(message.mid), messages.start_reply(self._next_mid(), message.token, reply)]

    def _on_chunk(self, message: Message, now: float) -> list[Message]:
        if message.type is Type.CON:
            raise WireError("UpdateChunk", expected="NON", found="CON")
        transfer = self._transfer
        if transfer is None:
            return [reset(message.mid)]
        index = message.uint(Option.CHUNK_INDEX) or 0
        size = transfer.expected_size(index)
        if message.token or not size or len(message.payload) != size:
            text = f"chunk {index} of {len(message.payload)} bytes, token {message.token.hex() or 'none'}"
            raise WireError(text, expected=f"chunk 1 to {transfer.window.count} of {size} bytes, no token")
        transfer.received += 1
        transfer.last_chunk = now
        return [self._ack(transfer)] if transfer.store(index, message.payload) else []

    def _ack(self, transfer: _Transfer) -> Message:
        transfer.unacknowledged = 0
        transfer.acks += 1
        return messages.update_ack(self._next_mid(), transfer.window.cumulative, transfer.window.early)

    def _on_finish(self, message: Message) -> list[Message]:
        finish = messages.parse_update_finish(message)
        if message.type is not Type.CON:
            raise WireError("UpdateFinish", expected="CON", found=message.type.name)
        transfer = self._transfer
        if transfer is None:
            text = "no update is in progress"
            error = self._error(Type.CON, message, Result.INVALID_STATE, text)
            return [empty_ack(message.mid), error]
        if not finish.cancel:
            problem = self._judge(transfer)
            if problem:
                return self._report_fatal(message, *problem)
        reply = messages.finish_reply(self._next_mid(), message.token, transfer.stats())
        if finish.cancel:
            self._abort("update cancelled by the cloud")
        else:
            self._finish_mid = reply.mid
        return [empty_ack(message.mid), reply]

    def _judge(self, transfer: _Transfer) -> tuple[int, str] | None:
        """System error and words if the file is not to be applied."""
        file = bytes(transfer.buffer)
        if not transfer.window.done:
            return Result.PROTOCOL, "incomplete file transfer"
        if transfer.offer.sha256 not in (None, hashlib.sha256(file).digest()):
            return Result.RESUMED_UPDATE_FAILED, "file does not have the hash that was announced"
        result = self._validate(file)
        return (result, "file is not valid") if result < 0 else None

    def _on_confirmation(self, message: Message) -> None:
        """The cloud has the last word of an update: only now it takes effect."""
        if message.mid == self._fatal_mid:
            self._fatal_mid = None
            self.drop_connection = True
        elif message.type is Type.RST:
            self._abort("cloud reset the end of the update")
        elif self._transfer is not None:
            self.complete = bytes(self._transfer.buffer)
            self._transfer = self._finish_mid = None

    def _refuse_unseen(self, message: Message, text: str) -> list[Message]:
        """A CON message that cannot be understood does no harm; a NON one ends update and connection."""
        if message.type is Type.CON:
            return [self._error(Type.ACK, message, Result.PROTOCOL, text)]
        if self._transfer is not None:
            self._abort(text)
            self.drop_connection = True
        if message.token:
            return [self._error(Type.NON, message, Result.PROTOCOL, text)]
        return [reset(message.mid)]

    def _report_fatal(self, request: Message, error: int, text: str) -> list[Message]:
        self._abort(text)
        response = self._error(Type.CON, request, error, text)
        self._fatal_mid = response.mid
        return [empty_ack(request.mid), response]

    def _error(self, type_: Type, request: Message, error: int, text: str) -> Message:
        mid = request.mid if type_ is Type.ACK else self._next_mid()
        return messages.error_reply(type_, mid, request.token, error, text)

    def _abort(self, reason: str) -> None:
        self._transfer = self._finish_mid = None
        self.error = reason
