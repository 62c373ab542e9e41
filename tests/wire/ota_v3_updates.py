"""Updates by protocol V3 for tests: both sides, and what each says to the other."""

from __future__ import annotations

import hashlib
from random import Random
from typing import Any

from hil.wire.coap.message import Message, Option
from hil.wire.messages import Kind, classify
from hil.wire.ota.v3 import V3Receiver, V3Sender, messages
from tests.wire.ota_channel import counter, tokens

FILE = bytes(index % 256 for index in range(1000))
SHA = hashlib.sha256(FILE).digest()
LONG = Random(7).randbytes(512 * 40)


def sender(file: bytes = FILE, **options: Any) -> V3Sender:
    return V3Sender(file, next_mid=counter(0x1000), next_token=tokens(), **options)


def receiver(max_file: int = 1536000, **options: Any) -> V3Receiver:
    return V3Receiver(max_file, counter(0x2001), options.pop("validate", lambda _: 0), **options)


def start(
    file: bytes = FILE, *, size: int | None = None, sha256: bytes | None = None, mid: int = 0x1000
) -> Message:
    offer = messages.UpdateStart(len(file) if size is None else size, 512, sha256)
    return messages.update_start(mid, b"\x61", offer)


def chunk(index: int, file: bytes = FILE, mid: int = 0x1100) -> Message:
    return messages.update_chunk(mid + index, index, file[(index - 1) * 512 : index * 512])


def finish(mid: int = 0x1200) -> Message:
    return messages.update_finish(mid, b"\x62")


def taken(token: bytes = b"\x61", *, window: int = 256, offset: int = 0) -> Message:
    return messages.start_reply(0x2001, token, messages.StartReply(window, offset))


def ack(cumulative: int, *early: int) -> Message:
    return messages.update_ack(0x2100, cumulative, early)


def indices(sent: list[Message]) -> list[int | None]:
    return [message.uint(Option.CHUNK_INDEX) for message in sent if classify(message) is Kind.V3_CHUNK]


def acks(sent: list[Message]) -> list[messages.UpdateAck]:
    return [messages.parse_update_ack(message) for message in sent]


def receiving(file: bytes = LONG, **options: Any) -> V3Receiver:
    device = receiver(**options)
    device.receive(start(file), 0.0)
    return device


def sending(file: bytes = LONG, *, window: int = 256, **options: Any) -> tuple[V3Sender, list[Message]]:
    cloud = sender(file, **options)
    cloud.start(0.0)
    return cloud, cloud.receive(taken(window=window), 1.0)[1:]
