"""Retransmission and duplicate detection, on a clock of the test's own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.wire.coap.reliability import MISSING, Deduplicator, Retransmitter


def run_unacknowledged(retransmitter: Retransmitter, start: float) -> tuple[list[float], float]:
    """When an unanswered message was sent again, and when it failed, in seconds after ``start``."""
    retransmitter.track(7, b"data", start)
    resent: list[float] = []
    while True:
        now = retransmitter.next_deadline()
        assert now is not None
        if retransmitter.failed(now) == [7]:
            return resent, now - start
        assert retransmitter.due(now) == [b"data"]
        resent.append(now - start)


@pytest.mark.parametrize(
    ("random", "resent", "failed"), [(0.0, [4, 12, 28], 60), (1.0, [6, 18, 42], 90), (0.5, [5, 15, 35], 75)]
)
def test_waits_of_a_message_nobody_answers(random: float, resent: list[float], failed: float) -> None:
    assert run_unacknowledged(Retransmitter(random=lambda: random), 1000.0) == (resent, failed)


def test_each_message_draws_its_own_wait() -> None:
    numbers = iter([0.0, 1.0])
    retransmitter = Retransmitter(random=lambda: next(numbers))
    retransmitter.track(1, b"one", 0.0)
    retransmitter.track(2, b"two", 0.0)
    assert retransmitter.due(4.0) == [b"one"]
    assert retransmitter.due(6.0) == [b"two"]
    assert retransmitter.next_deadline() == 12.0


@given(st.floats(0, 1), st.integers(0, 4))
def test_the_total_wait_is_one_timeout_doubled_per_send(random: float, retransmits: int) -> None:
    resent, failed = run_unacknowledged(Retransmitter(max_retransmit=retransmits, random=lambda: random), 0.0)
    assert len(resent) == retransmits
    total = 2 ** (retransmits + 1) - 1
    assert 4 * total <= failed <= 6 * total


def test_nothing_is_sent_before_its_time() -> None:
    retransmitter = Retransmitter(random=lambda: 0.0)
    retransmitter.track(1, b"one", 0.0)
    assert retransmitter.due(3.999) == []
    assert retransmitter.failed(3.999) == []
    assert retransmitter.due(4.0) == [b"one"]
    assert retransmitter.due(4.0) == []


def test_an_acknowledged_message_is_forgotten() -> None:
    retransmitter = Retransmitter(random=lambda: 0.0)
    retransmitter.track(1, b"one", 0.0)
    assert 1 in retransmitter
    assert retransmitter.acknowledge(1)
    assert not retransmitter.acknowledge(1)
    assert retransmitter.due(1000.0) == []
    assert retransmitter.failed(1000.0) == []
    assert retransmitter.next_deadline() is None


def test_a_late_look_sends_once_and_waits_anew() -> None:
    retransmitter = Retransmitter(random=lambda: 0.0)
    retransmitter.track(1, b"one", 0.0)
    assert retransmitter.due(100.0) == [b"one"]
    assert retransmitter.next_deadline() == 108.0


def test_a_reused_id_starts_over() -> None:
    retransmitter = Retransmitter(random=lambda: 0.0)
    retransmitter.track(1, b"old", 0.0)
    retransmitter.due(4.0)
    retransmitter.track(1, b"new", 5.0)
    assert len(retransmitter) == 1
    assert retransmitter.next_deadline() == 9.0
    assert retransmitter.due(9.0) == [b"new"]


def test_clear_forgets_everything() -> None:
    retransmitter = Retransmitter()
    retransmitter.track(1, b"one", 0.0)
    retransmitter.clear()
    assert len(retransmitter) == 0
    assert retransmitter.next_deadline() is None


def test_duplicates_get_the_reply_of_the_first() -> None:
    seen = Deduplicator()
    assert seen.lookup(1, 0.0) is MISSING
    seen.remember(1, b"ack", 0.0)
    assert seen.lookup(1, 44.9) == b"ack"
    assert seen.lookup(2, 44.9) is MISSING
    assert seen.lookup(1, 45.0) is MISSING


def test_a_message_in_work_is_a_duplicate_without_reply() -> None:
    seen = Deduplicator()
    seen.remember(1, None, 0.0)
    assert seen.lookup(1, 1.0) is None
    seen.remember(1, b"ack", 2.0)
    assert seen.lookup(1, 44.0) == b"ack"
    assert seen.lookup(1, 45.0) is MISSING


def test_what_has_expired_takes_no_room() -> None:
    seen = Deduplicator(window=10.0)
    for mid in range(100):
        seen.remember(mid, b"ack", float(mid))
    assert len(seen) == 10
    assert seen.lookup(99, 200.0) is MISSING
    assert len(seen) == 0
