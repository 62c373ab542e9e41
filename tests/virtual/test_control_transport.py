"""The service protocol of the control interface: USB fact sheet 4.1 to 4.3."""

from __future__ import annotations

from concurrent.futures import Future

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.virtual.deviceos.control import ControlChannel, Reply
from hil.virtual.kernel.usbdevice import Setup, Stall


class System:
    """Answers request 1 with its payload, 2 when the test says so, everything else with -120."""

    def __init__(self) -> None:
        self.channel = ControlChannel(self.dispatch)
        self.waiting: Future[Reply] = Future()
        self.finished = 0

    def dispatch(self, number: int, payload: bytes) -> Reply | Future[Reply]:
        if number == 1:
            return Reply(data=payload, then=self.finish)
        if number == 2:
            return self.waiting
        return Reply(-120)

    def finish(self) -> None:
        self.finished += 1

    def call(self, request: int, value: int = 0, index: int = 0, length: int = 64) -> str:
        return self.channel.service(Setup(0xC0, request, value, index, length), b"").hex()

    def send(self, handle: int, data: bytes) -> None:
        self.channel.service(Setup(0x40, 3, 0, handle, len(data)), data)


def test_vectors() -> None:
    system = System()
    assert system.call(1, 26, 1) == "0300000000000100"
    system.send(1, b"x" * 26)
    assert system.call(2, 0, 1) == "0d00000000001a00000000000000"
    assert system.call(1, 0, 999) == "0300000000000200"
    assert system.call(2, 0, 2) == "09000000000088ffffff"
    assert system.call(1, 0, 2) == "0300000000000300"
    assert system.call(2, 0, 3) == "010000000200"
    for _ in range(2):
        system.call(1, 0, 2)
    assert system.call(1, 0, 2) == "010000000300"


def test_large_payload_is_allocated_first_and_goes_in_chunks_both_ways() -> None:
    system = System()
    assert system.call(1, 100, 1) == "0300000002000100"
    with pytest.raises(Stall):
        system.send(1, b"x")
    assert system.call(2, 0, 1) == "010000000000"
    system.send(1, b"a" * 60)
    with pytest.raises(Stall):
        system.send(1, b"b" * 41)
    system.send(1, b"b" * 40)
    assert system.call(2, 0, 1) == "0d00000000006400000000000000"
    assert system.call(4, 0, 1, 70) == (b"a" * 60 + b"b" * 10).hex()
    with pytest.raises(Stall):
        system.call(4, 0, 1, 31)
    assert system.finished == 0
    assert system.call(4, 0, 1, 30) == (b"b" * 30).hex()
    assert system.finished == 1
    assert system.call(2, 0, 1) == "010000000500"


@pytest.mark.parametrize("request_", [1, 2, 5])
def test_a_reply_that_does_not_fit_is_stalled(request_: int) -> None:
    with pytest.raises(Stall):
        System().call(request_, 0, 0, 63)


def test_an_answer_that_takes_its_time() -> None:
    system = System()
    system.call(1, 0, 2)
    assert system.call(2, 0, 1) == "010000000200"
    system.waiting.set_result(Reply(7))
    assert system.call(2, 0, 1) == "090000000000" + "07000000"
    assert system.call(2, 0, 1) == "010000000500"


def test_a_broken_handler_is_an_internal_error() -> None:
    system = System()
    system.call(1, 0, 2)
    system.waiting.set_exception(RuntimeError("broken"))
    assert system.call(2, 0, 1) == "09000000000006ffffff"


def test_reset_drops_one_or_all() -> None:
    system = System()
    for _ in range(4):
        system.call(1, 0, 2)
    assert system.call(5, 0, 3) == "010000000000"
    assert system.call(5, 0, 3) == "010000000500"
    assert system.call(2, 0, 3) == "010000000500"
    assert system.call(5, 0, 0) == "010000000000"
    assert [system.call(2, 0, handle) for handle in (1, 2, 4)] == ["010000000500"] * 3
    assert system.call(1, 0, 999) == "0300000000000500"


def test_what_was_to_follow_the_reply_follows_a_cancelled_one_too() -> None:
    system = System()
    system.call(1, 3, 1)
    system.send(1, b"abc")
    system.call(5, 0, 1)
    assert system.finished == 1


SETUPS = st.builds(
    Setup,
    st.sampled_from([0xC0, 0x40]) | st.integers(0, 255),
    st.integers(1, 5) | st.integers(0, 255),
    st.integers(0, 70) | st.integers(0, 0xFFFF),
    st.integers(0, 6) | st.integers(0, 0xFFFF),
    st.sampled_from([0, 63, 64, 4096]) | st.integers(0, 0xFFFF),
)


@settings(deadline=None)
@given(steps=st.lists(st.tuples(SETUPS, st.binary(max_size=70)), max_size=40))
def test_garbage_is_answered_or_stalled(steps: list[tuple[Setup, bytes]]) -> None:
    system = System()
    for setup, data in steps:
        try:
            reply = system.channel.service(setup, data)
        except Stall:
            continue
        assert len(reply) <= max(setup.w_length, 18)
