"""Updates by protocol V3 from end to end, on good paths and on one that loses, repeats and reorders."""

from __future__ import annotations

import json
from collections import deque
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.device import modules
from hil.device.platforms import by_name
from hil.device.results import Result
from hil.errors import WireError
from hil.wire.coap.message import Message
from hil.wire.messages import Kind, classify
from hil.wire.ota.v3 import V3Receiver, V3Sender
from tests.wire.ota_channel import Channel, Path, counter, tokens


def sender(file: bytes, **options: Any) -> V3Sender:
    return V3Sender(file, next_mid=counter(0x1000), next_token=tokens(), **options)


def receiver(**options: Any) -> V3Receiver:
    return V3Receiver(1536000, counter(0x2001), options.pop("validate", lambda _: 0), **options)


def run(cloud: V3Sender, device: V3Receiver, path: Path | None = None) -> Channel:
    channel = Channel(cloud, device, path)
    channel.send(0, cloud.start(0.0))
    channel.run(lambda: cloud.error is not None or (cloud.finished and device.complete is not None))
    return channel


@pytest.mark.parametrize("resumable", [True, False])
@pytest.mark.parametrize("chunk_size", [512, 1136])
@pytest.mark.parametrize("size", [1, 512, 513, 200_000])
def test_file_arrives_on_a_good_path_without_repeats(size: int, chunk_size: int, resumable: bool) -> None:
    file = Random(size).randbytes(size)
    cloud, device = sender(file, chunk_size=chunk_size, resumable=resumable), receiver()
    run(cloud, device)
    assert cloud.error is None
    assert device.complete == file
    stats = json.loads(cloud.result)
    assert stats["recv_chunks"] == -(-size // chunk_size)
    assert (stats["dup_chunks"], stats["ooo_chunks"]) == (0, 0)


@settings(deadline=None, max_examples=200)
@given(
    size=st.integers(1, 200_000),
    chunk_size=st.sampled_from([512, 1024, 1136]),
    path=st.builds(
        Path,
        loss=st.floats(0, 0.4),
        repeat=st.floats(0, 0.4),
        jitter=st.sampled_from([0.0, 0.05, 1.0]),
        seed=st.integers(0, 2**32),
    ),
)
def test_file_arrives_on_a_bad_path(size: int, chunk_size: int, path: Path) -> None:
    file = Random(path.seed).randbytes(size)
    cloud = sender(file, chunk_size=chunk_size, ready_timeout=1000.0, answer_timeout=1000.0)
    device = receiver()
    run(cloud, device, path)
    assert cloud.error is None
    assert device.complete == file


def test_lost_chunks_cost_little_on_a_slightly_bad_path() -> None:
    file = Random(1).randbytes(512 * 400)
    cloud, device = sender(file), receiver()
    channel = run(cloud, device, Path(loss=0.02, seed=5))
    chunks = [message for _, message in channel.log if classify(message) is Kind.V3_CHUNK]
    assert device.complete == file
    assert 400 < len(chunks) < 440


def test_module_for_another_platform_is_refused_over_the_air() -> None:
    def validate(file: bytes) -> int:
        try:
            modules.check_compatible(modules.parse(file), by_name("argon"), "6.2.0")
        except WireError:
            return Result.INVALID_PLATFORM
        return 0

    for platform_id, refused in ((13, True), (12, False)):
        file = modules.build(platform_id, modules.ModuleFunction.USER_PART, 2, 6, 0xB4000, bytes(3000))
        cloud, device = sender(file), receiver(validate=validate)
        run(cloud, device)
        assert (device.complete is None) == refused
        assert ('"code":-1360' in (cloud.error or "")) == refused


class Shallow(V3Receiver):
    """A device whose socket holds ``depth`` datagrams and that takes one every ``pause`` seconds."""

    depth = 24
    pause = 0.004

    def __init__(self) -> None:
        super().__init__(1536000, counter(0x2001), lambda _: 0)
        self.held: deque[float] = deque()
        self.dropped = 0

    def receive(self, message: Message, now: float) -> list[Message]:
        while self.held and self.held[0] <= now:
            self.held.popleft()
        if classify(message) is Kind.V3_CHUNK:
            if len(self.held) >= self.depth:
                self.dropped += 1
                return []
            self.held.append(max(now, self.held[-1] if self.held else now) + self.pause)
        return super().receive(message, now)


def test_a_device_with_a_short_queue_is_not_flooded() -> None:
    """A window of 256 chunks says nothing of what the socket of a real board holds."""
    file = Random(2).randbytes(512 * 1000)
    cloud, device = sender(file), Shallow()
    channel = run(cloud, device)
    assert device.complete == file
    assert device.dropped < 300
    assert channel.now < 30
