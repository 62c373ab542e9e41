"""Legacy updates for tests: both sides, and what each says to the other."""

from __future__ import annotations

from typing import Any

from hil.wire.coap.message import Message, Type
from hil.wire.messages import Kind, classify
from hil.wire.ota.legacy import LegacyReceiver, LegacySender, messages
from tests.wire.ota_channel import counter, tokens

FILE = bytes(index % 256 for index in range(1000))


def accept(_: bytes) -> int:
    return 0


def sender(file: bytes = FILE, *, tcp: bool = False, mid: int = 0x1000, **options: Any) -> LegacySender:
    return LegacySender(file, reliable_transport=tcp, next_mid=counter(mid), next_token=tokens(), **options)


def receiver(max_file: int = 262144, *, tcp: bool = False, **options: Any) -> LegacyReceiver:
    return LegacyReceiver(max_file, tcp, counter(0x2001), options.pop("validate", accept), **options)


def begin(size: int = 1000, *, fast: bool = True, chunk: int = 512, mid: int = 0x1000) -> Message:
    flags = messages.BeginFlag.FAST if fast else messages.BeginFlag.NONE
    return messages.update_begin(mid, b"\x61", messages.UpdateBegin(flags, chunk, size))


def fast_chunk(index: int, file: bytes = FILE, mid: int = 0x1100) -> Message:
    data = file[index * 512 : (index + 1) * 512]
    return messages.chunk(mid + index, b"\x62", data, index, confirmable=False)


def slow_chunk(index: int, mid: int) -> Message:
    data = FILE[index * 512 : (index + 1) * 512]
    return messages.chunk(mid, b"\x62", data, None, confirmable=True)


def done(mid: int = 0x1200) -> Message:
    return messages.update_done(mid, b"\x63")


def ready(token: bytes = b"\x61", *, fast: bool = True) -> Message:
    return messages.update_ready(0x2001, token, fast=fast, confirmable=True)


def answer(request: Message, code: int, payload: bytes = b"", mid: int | None = None) -> Message:
    return Message(Type.ACK, code, request.mid if mid is None else mid, request.token, payload=payload)


def kinds(sent: list[Message]) -> list[Kind]:
    return [classify(message) for message in sent]
