"""Legacy updates: worked example 8.7, each rule of protocol fact sheet 4.1, and a path that loses datagrams."""

from __future__ import annotations

import contextlib
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hil.device import modules
from hil.device.platforms import by_name
from hil.device.results import Result
from hil.errors import UsageError, WireError
from hil.wire.coap.message import Code, Message, Type, decode, empty_ack, encode, reset
from hil.wire.messages import Kind, classify
from hil.wire.ota.common import Pace
from hil.wire.ota.legacy import LegacyReceiver, LegacySender, messages
from tests.wire.ota_channel import Channel, Path, counter, tokens

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


# Worked example 8.7


def test_worked_example_begin() -> None:
    assert encode(sender().start(0.0)[0]).hex() == "4102100061b175ff010200000003e80000000000"


def test_worked_example_ready() -> None:
    device = receiver()
    replies = device.receive(decode(bytes.fromhex("4102100061b175ff010200000003e80000000000")), 0.0)
    assert [encode(reply).hex() for reply in replies] == ["60001000", "4144200161ff01"]


def test_worked_example_chunk() -> None:
    built = messages.chunk(0x1001, b"\x62", FILE[:512], 0, confirmable=True)
    assert encode(built) == bytes.fromhex("4102100162b163441c613576020000ff") + FILE[:512]


def test_worked_example_done() -> None:
    assert encode(messages.update_done(0x1003, b"\x63")).hex() == "4103100363b175"


def test_whole_worked_example_in_fast_mode() -> None:
    cloud = sender()
    cloud.start(0.0)
    ack, first, second, end = cloud.receive(ready(), 1.0)
    assert encode(ack).hex() == "60002001"
    assert encode(first) == bytes.fromhex("5102100162b163441c613576020000ff") + FILE[:512]
    assert second.payload == FILE[512:]
    assert encode(end).hex() == "4103100363b175"


# Messages


@pytest.mark.parametrize("token", [b"", b"ab"])
def test_tokens_are_one_byte(token: bytes) -> None:
    offer = messages.UpdateBegin(messages.BeginFlag.FAST, 512, 1000)
    with pytest.raises(UsageError):
        messages.update_begin(1, token, offer)
    with pytest.raises(UsageError):
        messages.chunk(1, token, b"data", 0, confirmable=False)


def test_missed_chunks_are_listed_big_endian() -> None:
    built = messages.chunk_missed(0x2002, [1, 0x1234], confirmable=True)
    assert encode(built).hex() == "40012002b163ff00011234"
    assert messages.parse_chunk_missed(built) == [1, 0x1234]


@given(
    st.builds(
        Message,
        st.sampled_from(list(Type)),
        st.integers(0, 255),
        st.integers(0, 65535),
        st.binary(max_size=8),
        st.lists(st.tuples(st.integers(0, 30), st.binary(max_size=20)), max_size=4).map(tuple),
        st.binary(max_size=40),
    )
)
def test_parsers_raise_wire_errors_only(message: Message) -> None:
    for parse in (messages.parse_update_begin, messages.parse_chunk, messages.parse_chunk_missed):
        with contextlib.suppress(WireError):
            parse(message)


# The cloud's side


def test_refused_offer_ends_the_update() -> None:
    cloud = sender()
    (offer,) = cloud.start(0.0)
    refusal = answer(offer, Code.SERVICE_UNAVAILABLE)
    assert cloud.wants(refusal)
    assert cloud.receive(refusal, 0.1) == []
    assert cloud.error == "device refused the update: 5.03"
    assert cloud.next_deadline() is None


def test_no_ready_ends_the_update_in_time() -> None:
    cloud = sender(ready_timeout=60.0)
    (offer,) = cloud.start(10.0)
    assert not cloud.wants(empty_ack(offer.mid))
    assert cloud.next_deadline() == 70.0
    assert cloud.tick(69.9) == []
    assert cloud.error is None
    cloud.tick(70.0)
    assert cloud.error == "no UpdateReady within 60 s"


def test_reset_of_the_offer_ends_the_update() -> None:
    cloud = sender()
    (offer,) = cloud.start(0.0)
    assert not cloud.wants(reset(offer.mid + 1))
    assert cloud.wants(reset(offer.mid))
    cloud.receive(reset(offer.mid), 0.1)
    assert cloud.error == "device reset the update"


def test_chunks_go_out_in_paced_batches() -> None:
    cloud = sender(bytes(512 * 10), pace=Pace(burst=4, interval=0.5))
    cloud.start(0.0)
    assert len(cloud.receive(ready(), 1.0)) == 1 + 4
    assert cloud.progress == (2048, 5120)
    assert cloud.tick(1.4) == []
    assert cloud.next_deadline() == 1.5
    assert kinds(cloud.tick(1.5)) == [Kind.CHUNK] * 4
    assert kinds(cloud.tick(2.0)) == [Kind.CHUNK] * 2 + [Kind.UPDATE_DONE]


def test_fast_chunks_are_non_with_a_one_byte_token_on_both_transports() -> None:
    for tcp in (False, True):
        cloud = sender(tcp=tcp)
        cloud.start(0.0)
        chunks = [sent for sent in cloud.receive(ready(), 1.0) if classify(sent) is Kind.CHUNK]
        assert [(chunk.type, len(chunk.token)) for chunk in chunks] == [(Type.NON, 1)] * 2


def test_missed_chunks_are_sent_again_and_done_follows() -> None:
    cloud = sender()
    cloud.start(0.0)
    end = cloud.receive(ready(), 1.0)[-1]
    assert cloud.receive(answer(end, Code.BAD_REQUEST), 1.1) == []
    assert cloud.error is None
    missed = messages.chunk_missed(0x2002, [1], confirmable=True)
    assert cloud.wants(missed)
    ack, chunk, again = cloud.receive(missed, 1.2)
    assert ack == empty_ack(0x2002)
    assert chunk.payload == FILE[512:]
    assert classify(again) is Kind.UPDATE_DONE
    assert again.token != end.token
    cloud.receive(answer(again, Code.CHANGED, b'{"r":0}'), 1.3)
    assert cloud.finished
    assert cloud.result == '{"r":0}'
    assert cloud.progress == (1000, 1000)


def test_list_of_missed_chunks_may_overtake_the_answer() -> None:
    cloud = sender()
    cloud.start(0.0)
    end = cloud.receive(ready(), 1.0)[-1]
    again = cloud.receive(messages.chunk_missed(0x2002, [0], confirmable=True), 1.1)[-1]
    assert not cloud.wants(answer(end, Code.BAD_REQUEST))
    cloud.receive(answer(again, Code.CHANGED, b'{"r":0}'), 1.2)
    assert cloud.finished


def test_answers_are_matched_by_token_not_by_message_id() -> None:
    cloud = sender(tcp=True)
    cloud.start(0.0)
    end = cloud.receive(messages.update_ready(9, b"\x61", fast=True, confirmable=False), 1.0)[-1]
    cloud.receive(answer(end, Code.CHANGED, b'{"r":0}', mid=0x7777), 1.1)
    assert cloud.finished


def test_negative_result_is_an_error() -> None:
    cloud = sender()
    cloud.start(0.0)
    end = cloud.receive(ready(), 1.0)[-1]
    cloud.receive(answer(end, Code.CHANGED, b'{"r":-1360}'), 1.1)
    assert cloud.error == "device refused the file: result -1360"
    assert not cloud.finished


@pytest.mark.parametrize(
    ("step", "words"), [(None, "answer to UpdateDone"), (Code.BAD_REQUEST, "list of missing chunks")]
)
def test_silence_at_the_end_is_an_error(step: Code | None, words: str) -> None:
    cloud = sender(answer_timeout=90.0)
    cloud.start(0.0)
    end = cloud.receive(ready(), 1.0)[-1]
    if step:
        cloud.receive(answer(end, step), 2.0)
    deadline = cloud.next_deadline()
    assert deadline == (92.0 if step else 91.0)
    cloud.tick(deadline)
    assert cloud.error == f"no {words} within 90 s"


@pytest.mark.parametrize("asked", [True, False])
def test_slow_mode_sends_one_chunk_at_a_time(asked: bool) -> None:
    cloud = sender(fast=asked)
    (offer,) = cloud.start(0.0)
    assert offer.payload[0] == asked
    _, first = cloud.receive(ready(fast=False), 1.0)
    assert encode(first)[:13] == bytes.fromhex("4102100162b163441c613576ff")
    assert cloud.receive(empty_ack(first.mid), 1.1) == []
    received = messages.chunk_received(0x2002, first.token, intact=True, confirmable=True)
    assert cloud.wants(received)
    ack, second = cloud.receive(received, 1.2)
    assert ack == empty_ack(0x2002)
    assert second.payload == FILE[512:]
    (end,) = cloud.receive(answer(second, Code.CHANGED), 1.3)  # a piggybacked answer will do as well
    assert classify(end) is Kind.UPDATE_DONE


def test_slow_chunk_with_a_bad_crc_is_sent_again_five_times_at_most() -> None:
    cloud = sender(fast=False)
    cloud.start(0.0)
    chunk = cloud.receive(ready(fast=False), 1.0)[-1]
    for _ in range(4):
        again = cloud.receive(answer(chunk, Code.BAD_REQUEST), 1.1)[-1]
        assert again.payload == chunk.payload
        assert (again.mid, again.token) != (chunk.mid, chunk.token)
        chunk = again
    assert cloud.receive(answer(chunk, Code.BAD_REQUEST), 1.2) == []
    assert cloud.error == "device refused chunk 0 5 times: 4.00"


def test_empty_file_is_the_callers_mistake() -> None:
    with pytest.raises(UsageError):
        sender(b"")


# The device's side


def test_device_stores_chunks_in_any_order_and_answers_with_the_result() -> None:
    device = receiver()
    device.receive(begin(), 0.0)
    assert device.receive(fast_chunk(1), 0.1) == []
    assert device.receive(fast_chunk(0), 0.2) == []
    (reply,) = device.receive(done(), 0.3)
    assert encode(reply) == bytes.fromhex("6144120063ff") + b'{"r":0}'
    assert device.complete == FILE
    assert device.receive(done(), 0.4) == [reply]


@pytest.mark.parametrize("tcp", [True, False])
def test_device_messages_are_confirmable_on_udp_only(tcp: bool) -> None:
    wanted = Type.NON if tcp else Type.CON
    device = receiver(tcp=tcp)
    assert device.receive(begin(), 0.0)[1].type is wanted
    assert device.receive(done(), 0.1)[1].type is wanted


@pytest.mark.parametrize(
    ("offer", "words"),
    [
        (begin(262145), "at most 262144 fit"),
        (begin(0), "file of 0 bytes"),
        (begin(chunk=513), "chunks of 513 bytes"),
        (begin(chunk=0), "chunks of 0 bytes"),
        (Message(Type.CON, Code.POST, 0x1000, b"\x61", ((11, b"u"),), b"short"), "12 bytes"),
    ],
)
def test_offer_that_does_not_fit_is_refused(offer: Message, words: str) -> None:
    device = receiver()
    assert [encode(reply).hex() for reply in device.receive(offer, 0.0)] == ["61a3100061"]
    assert not device.active
    assert device.error is not None
    assert words in device.error


def test_save_begin_is_an_offer_too() -> None:
    offer = Message(Type.CON, Code.POST, 0x1000, b"\x61", ((11, b"s"),), begin().payload)
    device = receiver()
    assert device.wants(offer)
    assert len(device.receive(offer, 0.0)) == 2
    assert device.active


def test_offer_that_comes_twice_does_not_start_over() -> None:
    device = receiver()
    device.receive(begin(), 0.0)
    device.receive(fast_chunk(0), 0.1)
    device.receive(begin(), 0.2)
    device.receive(fast_chunk(1), 0.3)
    device.receive(done(), 0.4)
    assert device.complete == FILE


def test_new_offer_starts_over() -> None:
    device = receiver()
    device.receive(begin(), 0.0)
    device.receive(fast_chunk(0), 0.1)
    device.receive(begin(mid=0x1050), 0.2)
    device.receive(fast_chunk(1), 0.3)
    reply, missed = device.receive(done(), 0.4)
    assert reply.code == Code.BAD_REQUEST
    assert messages.parse_chunk_missed(missed) == [0]


@pytest.mark.parametrize(
    ("received", "limit", "asked"), [(0, 40, 2), (5, 40, 7), (20, 40, 24), (50, 40, 40), (50, 20, 20)]
)
def test_device_asks_for_what_the_path_can_bear(received: int, limit: int, asked: int) -> None:
    file = bytes(512 * 120)
    device = receiver(missing_limit=limit)
    device.receive(begin(len(file)), 0.0)
    for index in range(received):
        device.receive(fast_chunk(index, file), 0.1)
    reply, missed = device.receive(done(), 0.2)
    assert encode(reply).hex() == "6180120063"
    assert messages.parse_chunk_missed(missed) == list(range(received, received + asked))


def test_padded_last_chunk_is_cut_to_size() -> None:
    device = receiver()
    device.receive(begin(), 0.0)
    padded = FILE[512:].ljust(512, b"\0")
    device.receive(fast_chunk(0), 0.1)
    device.receive(messages.chunk(0x1101, b"\x62", padded, 1, confirmable=False), 0.1)
    device.receive(done(), 0.2)
    assert device.complete == FILE


@pytest.mark.parametrize(
    "bad",
    [
        Message(Type.NON, Code.POST, 1, b"\x62", ((11, b"c"), (15, b"\0\0\0\0"), (15, b"\0\0")), FILE[:512]),
        messages.chunk(1, b"\x62", FILE[:100], 0, confirmable=False),
        messages.chunk(1, b"\x62", FILE[:512], 2, confirmable=False),
        messages.chunk(1, b"\x62", FILE[:512], None, confirmable=False),
        Message(Type.NON, Code.POST, 1, b"", fast_chunk(0).options, FILE[:512]),
    ],
    ids=["crc", "short", "index", "no-index", "no-token"],
)
def test_bad_fast_chunks_count_as_missing(bad: Message) -> None:
    device = receiver()
    device.receive(begin(), 0.0)
    assert device.receive(bad, 0.1) == []
    missed = device.receive(done(), 0.2)[1]
    assert messages.parse_chunk_missed(missed) == [0, 1]


def test_slow_chunks_are_acknowledged_and_answered_one_by_one() -> None:
    device = receiver()
    assert device.receive(begin(fast=False), 0.0)[1].payload == b"\0"
    replies = device.receive(slow_chunk(0, 0x1001), 0.1)
    assert [encode(reply).hex() for reply in replies] == ["60001001", "4144200262"]
    damaged = Message(Type.CON, Code.POST, 0x1002, b"\x62", slow_chunk(0, 0).options, FILE[512:])
    assert [encode(reply).hex() for reply in device.receive(damaged, 0.2)] == ["60001002", "4180200362"]
    device.receive(slow_chunk(1, 0x1003), 0.3)
    assert device.receive(done(), 0.4)[0].code == Code.CHANGED
    assert device.complete == FILE


def test_slow_chunk_that_comes_twice_is_stored_once() -> None:
    device = receiver()
    device.receive(begin(1024, fast=False), 0.0)
    for mid in (0x1001, 0x1001):
        assert device.receive(slow_chunk(0, mid), 0.1)[1].code == Code.CHANGED
    assert device.receive(done(), 0.4)[0].code == Code.BAD_REQUEST


def test_silence_ends_the_update() -> None:
    device = receiver(silence_limit=30.0)
    device.receive(begin(), 0.0)
    device.receive(fast_chunk(0), 5.0)
    assert device.next_deadline() == 35.0
    device.tick(34.9)
    assert device.active
    device.tick(35.0)
    assert (device.active, device.timed_out, device.complete) == (False, True, None)
    assert device.error == "no update message for 30 s"


def test_done_without_an_update_is_refused() -> None:
    assert [reply.code for reply in receiver().receive(done(), 0.0)] == [Code.BAD_REQUEST]


def test_refused_file_is_not_complete() -> None:
    device = receiver(validate=lambda _: Result.INVALID_PLATFORM)
    device.receive(begin(), 0.0)
    for index in range(2):
        device.receive(fast_chunk(index), 0.1)
    (reply,) = device.receive(done(), 0.2)
    assert reply.payload == b'{"r":-1360}'
    assert device.complete is None


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


# Both sides


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
