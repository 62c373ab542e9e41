"""Legacy updates from end to end, on a path that loses, doubles and reorders datagrams."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hil.device import modules
from hil.device.platforms import by_name
from hil.device.results import Result
from hil.errors import WireError
from hil.wire.coap.message import Message, Type, encode
from hil.wire.ota.legacy import LegacyReceiver, LegacySender
from tests.wire.ota_channel import Channel, Path
from tests.wire.ota_legacy_updates import begin, receiver, sender


def run(cloud: LegacySender, device: LegacyReceiver, path: Path | None = None) -> Channel:
    channel = Channel(cloud, device, path)
    channel.send(0, cloud.start(0.0))
    channel.run(lambda: cloud.finished or cloud.error is not None)
    return channel


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("tcp", [True, False])
@pytest.mark.parametrize("size", [1, 511, 512, 513, 20_000])
def test_file_arrives_on_a_good_path(size: int, tcp: bool, fast: bool) -> None:
    file = bytes(index * 7 % 251 for index in range(size))
    cloud, device = sender(file, tcp=tcp, fast=fast), receiver(tcp=tcp)
    run(cloud, device)
    assert cloud.error is None
    assert (cloud.finished, cloud.result, device.complete) == (True, '{"r":0}', file)


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(
    size=st.integers(1, 60_000),
    fast=st.booleans(),
    path=st.builds(
        Path,
        loss=st.floats(0, 0.4),
        repeat=st.floats(0, 0.4),
        jitter=st.sampled_from([0.0, 0.05, 1.0]),
        seed=st.integers(0, 2**32),
    ),
)
def test_file_arrives_on_a_bad_path(size: int, fast: bool, path: Path) -> None:
    file = Random(path.seed).randbytes(size)
    cloud = sender(file, fast=fast, ready_timeout=1000.0, answer_timeout=1000.0)
    device = receiver(silence_limit=1000.0)
    run(cloud, device, path)
    assert cloud.error is None
    assert device.complete == file


def test_module_for_another_platform_is_refused_over_the_air() -> None:
    def validate(file: bytes) -> int:
        try:
            modules.check_compatible(modules.parse(file), by_name("photon"), "2.3.1")
        except WireError:
            return Result.INVALID_PLATFORM
        return 0

    for platform_id, start, refused in ((12, 0xD4000, True), (6, 0x080A0000, False)):
        file = modules.build(platform_id, modules.ModuleFunction.USER_PART, 1, 6, start, bytes(3000))
        cloud, device = sender(file, tcp=True), receiver(tcp=True, validate=validate)
        run(cloud, device)
        assert (cloud.error is not None, device.complete is None) == (refused, refused)
        assert cloud.result == ('{"r":-1360}' if refused else '{"r":0}')


@given(
    st.lists(
        st.builds(
            Message,
            st.sampled_from(list(Type)),
            st.sampled_from([1, 2, 3, 0x44, 0x80]),
            st.integers(0, 65535),
            st.binary(max_size=2),
            st.tuples(
                st.tuples(st.just(11), st.sampled_from([b"u", b"c", b"s"])),
                st.tuples(st.just(15), st.binary(max_size=5)),
            ),
            st.binary(max_size=16),
        ),
        max_size=6,
    )
)
def test_neither_side_raises_on_garbage(garbage: list[Message]) -> None:
    device = receiver()
    device.receive(begin(), 0.0)
    cloud = sender()
    cloud.start(0.0)
    for message in garbage:
        for end in (device, cloud):
            if end.wants(message):
                for reply in end.receive(message, 0.1):
                    encode(reply)
    assert device.complete is None
