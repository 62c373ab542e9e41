"""Updates over the air, as the board takes them: protocol fact sheet 4.1, 4.2, 11.5."""

from __future__ import annotations

import random
import time

import pytest

from hil.virtual.app.wiring import PublishState
from hil.virtual.cloudclient.session import CloudSession
from hil.wire import messages
from hil.wire.coap import message as coap
from hil.wire.coap.message import Code, Message, Type
from hil.wire.messages import Kind
from hil.wire.ota.common import OtaSender
from hil.wire.ota.legacy import LegacySender
from hil.wire.ota.legacy import messages as legacy
from hil.wire.ota.v3 import V3Sender
from hil.wire.ota.v3 import messages as v3
from tests.virtual.cloudbench import BOARDS, UDP_BOARDS, Bench

LEGACY_BOARDS = ("photon", "electron", "boron")
FILE = random.Random(5).randbytes(20_000)


def sender(bench: Bench, file: bytes = FILE, *, fast: bool = True) -> OtaSender:
    server = bench.server
    if bench.profile.ota_v3:
        return V3Sender(file, next_mid=server.next_mid, next_token=server.next_token)
    return LegacySender(
        file,
        fast=fast,
        reliable_transport=bench.profile.tcp,
        next_mid=server.next_mid,
        next_token=server.next_token,
    )


def transfer(bench: Bench, update: OtaSender, *, lose: frozenset[int] = frozenset()) -> None:
    """Run an update until the sender is done; chunks whose number in line is in ``lose`` get lost."""
    chunks = 0

    def send(outgoing: list[Message]) -> None:
        nonlocal chunks
        for message in outgoing:
            chunk = messages.classify(message) in (Kind.CHUNK, Kind.V3_CHUNK)
            chunks += chunk
            if not chunk or chunks not in lose:
                bench.server.send(message)

    send(update.start(time.monotonic()))
    while not update.finished and update.error is None:
        deadline = update.next_deadline()
        wait = 10.0 if deadline is None else max(0.001, deadline - time.monotonic())
        try:
            message = bench.server.receive(min(wait, 10.0))
        except TimeoutError:
            send(update.tick(time.monotonic()))
            continue
        if update.wants(message):
            send(update.receive(message, time.monotonic()))
        else:
            bench.server.answer(message)


@pytest.mark.parametrize("model", BOARDS)
def test_file_arrives_and_is_applied_as_it_is(model: str) -> None:
    with Bench(model) as bench:
        bench.online()
        update = sender(bench)
        transfer(bench, update)
        assert update.error is None
        assert bench.facts.wait_applied() == FILE
        assert len(bench.facts.applied) == 1
        if model in LEGACY_BOARDS:
            assert update.result == '{"r":0}'


@pytest.mark.parametrize("model", LEGACY_BOARDS)
def test_slow_update_chunk_by_chunk(model: str) -> None:
    with Bench(model) as bench:
        bench.online()
        update = sender(bench, fast=False)
        transfer(bench, update)
        assert update.error is None
        assert bench.facts.wait_applied() == FILE


@pytest.mark.parametrize("model", UDP_BOARDS)
def test_lost_chunks_come_again(model: str) -> None:
    with Bench(model) as bench:
        bench.online()
        update = sender(bench)
        transfer(bench, update, lose=frozenset({2, 3, 17}))
        assert update.error is None
        assert bench.facts.wait_applied() == FILE


@pytest.mark.parametrize("model", BOARDS)
def test_wrong_file_is_refused_and_life_goes_on(model: str) -> None:
    with Bench(model) as bench:
        bench.online()
        bench.facts.update_result = -280
        update = sender(bench)
        transfer(bench, update)
        assert update.error is not None
        if model in LEGACY_BOARDS:
            bench.server.assert_silent()
            assert bench.app.publish("x", b"").state is not PublishState.REFUSED
        else:
            # The refusal was acknowledged: the board drops the connection and takes its session up again.
            assert bench.server.receive().is_empty
            assert "-280" in update.error
            bench.facts.wait_log("update failed: file is not valid")
        assert bench.facts.applied == []


@pytest.mark.parametrize("model", BOARDS)
def test_file_larger_than_the_board_takes(model: str) -> None:
    with Bench(model) as bench:
        bench.online()
        size = bench.profile.max_binary + 1
        if bench.profile.ota_v3:
            bench.server.send(v3.update_start(0x7000, b"x", v3.UpdateStart(size, 512, None)))
            assert bench.server.receive() == coap.empty_ack(0x7000)
            assert bench.server.receive().code >= Code.BAD_REQUEST
        else:
            begin = legacy.UpdateBegin(legacy.BeginFlag.FAST, 512, size)
            bench.server.send(legacy.update_begin(0x7000, b"x", begin))
            assert bench.server.receive() == Message(Type.ACK, Code.SERVICE_UNAVAILABLE, 0x7000, b"x")


def begin(bench: Bench) -> None:
    """Offer an update and go no further."""
    bench.server.send(sender(bench).start(0)[0])
    assert bench.server.receive().is_empty
    ready = bench.server.receive()
    assert ready.code in (Code.CHANGED, Code.CREATED)
    bench.server.answer(ready)
    bench.server.assert_silent()


@pytest.mark.parametrize("model", BOARDS)
def test_nothing_is_published_during_an_update(model: str) -> None:
    with Bench(model) as bench:
        bench.online()
        begin(bench)
        assert bench.app.publish("x", b"").state is PublishState.REFUSED
        bench.server.assert_silent()


@pytest.mark.parametrize("model", BOARDS)
def test_silence_ends_the_update(model: str) -> None:
    with Bench(model) as bench:
        bench.online()
        begin(bench)

        def later(session: CloudSession) -> None:
            session.requests.tick(time.monotonic() + bench.profile.update_silence_limit + 1)

        bench.client._call(bench.client._with_session, later)
        if model in LEGACY_BOARDS:
            assert bench.facts.wait_reset() == ("update_timeout", "normal")
        else:
            assert bench.server.receive().is_empty  # resumed; no reset
            assert bench.facts.resets == []
        assert bench.facts.applied == []


@pytest.mark.parametrize("model", BOARDS)
def test_machine_may_reset_from_within_the_update(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Bench(model) as bench:
        bench.online()
        apply = bench.facts.apply_update

        def apply_and_stop(file: bytes) -> None:
            bench.client.stop()
            apply(file)

        monkeypatch.setattr(bench.facts, "apply_update", apply_and_stop)
        transfer(bench, sender(bench))
        assert bench.facts.wait_applied() == FILE
        assert not bench.client._thread.is_alive()


def test_update_that_cannot_be_applied_is_heard_of(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_file: bytes) -> None:
        raise OSError("no room")

    with Bench("argon") as bench:
        bench.online()
        monkeypatch.setattr(bench.facts, "apply_update", fail)
        transfer(bench, sender(bench))
        bench.facts.wait_log("update not applied: OSError('no room')")
