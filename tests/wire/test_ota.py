"""What both update protocols share: one interface for either, results, error bodies."""

from __future__ import annotations

import pytest

from hil.device.results import Result
from hil.wire.coap.message import Code, Message, Type
from hil.wire.ota.common import OtaReceiver, OtaSender, chunk_count, error_payload, result_code
from hil.wire.ota.legacy import LegacyReceiver, LegacySender
from hil.wire.ota.v3 import V3Receiver, V3Sender
from tests.wire.ota_channel import Channel, counter, tokens

FILE = bytes(range(256)) * 20


def accept(_: bytes) -> int:
    return 0


def pair(version: int) -> tuple[OtaSender, OtaReceiver]:
    next_mid, next_token = counter(1), tokens()
    if version == 3:
        return V3Sender(FILE, next_mid=next_mid, next_token=next_token), V3Receiver(
            100_000, counter(1), accept
        )
    legacy = LegacySender(FILE, reliable_transport=False, next_mid=next_mid, next_token=next_token)
    return legacy, LegacyReceiver(100_000, False, counter(1), accept)


@pytest.mark.parametrize("version", [1, 3])
def test_either_protocol_is_driven_the_same_way(version: int) -> None:
    cloud, device = pair(version)
    assert cloud.next_deadline() is None
    assert device.next_deadline() is None
    channel = Channel(cloud, device)
    channel.send(0, cloud.start(0.0))
    assert cloud.progress == (0, len(FILE))
    channel.run(lambda: device.complete is not None and cloud.finished)
    assert (device.complete, device.active, device.timed_out) == (FILE, False, False)
    assert (cloud.error, cloud.progress) == (None, (len(FILE), len(FILE)))
    assert cloud.next_deadline() is None


@pytest.mark.parametrize("version", [1, 3])
def test_other_messages_are_not_wanted(version: int) -> None:
    cloud, device = pair(version)
    cloud.start(0.0)
    others = [
        Message(Type.CON, Code.POST, 9, b"", ((11, b"E"), (11, b"name")), b"data"),
        Message(Type.CON, Code.EMPTY, 9),
        Message(Type.ACK, Code.EMPTY, 9),
        Message(Type.CON, Code.CHANGED, 9, b"\xf0", payload=b"\0\0\0\1"),
    ]
    for message in others:
        assert not cloud.wants(message)
        assert not device.wants(message)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('{"r":0}', 0),
        ('{"r":-1360}', -1360),
        ("", None),
        ("[1]", None),
        ('{"r":"x"}', None),
        ("{", None),
        ("[" * 5000, None),
    ],
)
def test_result_code(text: str, code: int | None) -> None:
    assert result_code(text) == code


def test_error_body() -> None:
    assert error_payload(Result.TOO_LARGE, "too large") == b'{"code":-190,"message":"too large"}'


@pytest.mark.parametrize(("size", "chunks"), [(1, 1), (512, 1), (513, 2), (1000, 2), (1536000, 3000)])
def test_chunk_count(size: int, chunks: int) -> None:
    assert chunk_count(size, 512) == chunks
