"""Over-the-air updates: what the two protocols (legacy and V3) and the two sides have in common.

Sender (cloud) and receiver (device) do no I/O: messages go in and out, ``now`` is monotonic seconds. What they
return is to be sent in that order. Sending CON messages again until acknowledged and dropping repeated ones is
the channel's work; both sides still bear a message that comes twice.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from hil.errors import UsageError
from hil.wire.coap.message import Code, Message, Type, empty_ack

CHUNK_SIZE = 512
NextMid = Callable[[], int]
NextToken = Callable[[], bytes]
Validate = Callable[[bytes], int]


class OtaSender(Protocol):
    """The cloud's side of one update."""

    @property
    def finished(self) -> bool:
        """The device has the file and means to apply it."""

    @property
    def error(self) -> str | None:
        """Why the update failed, in words; nothing more is sent then."""

    @property
    def result(self) -> str:
        """The JSON text of the device's last word, empty when there was none."""

    @property
    def progress(self) -> tuple[int, int]:
        """Bytes sent (legacy) or acknowledged (V3), and bytes in all."""

    def start(self, now: float) -> list[Message]:
        """The message that offers the update."""

    def wants(self, message: Message) -> bool:
        """Whether ``message`` belongs to this update; ask before ``receive``."""

    def receive(self, message: Message, now: float) -> list[Message]:
        """Take a message from the device."""

    def tick(self, now: float) -> list[Message]:
        """What is due at ``now``: the next batch, or nothing after giving up (see ``error``)."""

    def next_deadline(self) -> float | None:
        """When to call ``tick``; ``None`` when there is nothing to wait for."""


class OtaReceiver(Protocol):
    """The device's side, update after update."""

    @property
    def active(self) -> bool:
        """An update is going on."""

    @property
    def complete(self) -> bytes | None:
        """The file, once the device may apply it."""

    @property
    def error(self) -> str | None:
        """Why the last update failed."""

    @property
    def timed_out(self) -> bool:
        """The last update ended because the cloud fell silent."""

    def wants(self, message: Message) -> bool:
        """Whether ``message`` belongs to an update; ask before ``receive``."""

    def receive(self, message: Message, now: float) -> list[Message]:
        """Take a message from the cloud. Never raises for what is in it."""

    def tick(self, now: float) -> list[Message]:
        """What is due at ``now``."""

    def next_deadline(self) -> float | None:
        """When to call ``tick``; ``None`` when there is nothing to wait for."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a sender puts chunks on the wire: ``burst`` messages, then a pause of ``interval`` seconds.

    A board's UDP buffers hold few datagrams; on TCP the pause only lets other traffic in between.
    """

    burst: int = 8
    interval: float = 0.02


def chunk_count(size: int, chunk_size: int) -> int:
    """Chunks it takes to send ``size`` bytes."""
    return -(-size // chunk_size)


def check_file(file: bytes) -> bytes:
    """``file``, or ``UsageError`` if there is nothing in it."""
    if not file:
        raise UsageError("update without contents", expected="a file of 1 byte or more", found="0 bytes")
    return file


def is_refusal(message: Message) -> bool:
    """Whether ``message`` is a response of class 4 or 5."""
    return message.code >= Code.BAD_REQUEST


def acknowledge(message: Message) -> list[Message]:
    """The empty ACK a CON message asks for, nothing for others."""
    return [empty_ack(message.mid)] if message.type is Type.CON else []


def error_payload(code: int, text: str) -> bytes:
    """The JSON body of an error response (protocol fact sheet 3.1)."""
    return json.dumps({"code": code, "message": text}, separators=(",", ":")).encode()


def response_text(message: Message) -> str:
    """The payload of a response as text; bytes that are not UTF-8 are replaced."""
    return message.payload.decode("utf-8", "replace")


def result_code(text: str) -> int | None:
    """The number in ``{"r":n}``, the device's last word in the legacy protocol; ``None`` for other text."""
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return None
    code = parsed.get("r") if isinstance(parsed, dict) else None
    return code if isinstance(code, int) else None
