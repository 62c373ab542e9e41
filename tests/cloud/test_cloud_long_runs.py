"""Issue 6, point 7: a cloud that runs for months stays as large as it is, and what it counted stays counted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from benchmarks.soak_day import live
from hil.cli.livelog import Follower
from hil.cloud.billing.ledger import MIGRATIONS, Ledger
from hil.cloud.billing.tariff import Tariff
from hil.cloud.config import Policy, Retention
from hil.cloud.session.meter import Action, Charge
from hil.cloud.state.activity import Activity
from hil.cloud.state.events import EventBus
from hil.cloud.state.happenings import Noted
from hil.cloud.state.journal import Journal, NoLongerKept
from hil.cloud.state.store import Store
from hil.cloud.sync.facade import DeviceCloud
from tests.clock.standing import EPOCH, standing_clock
from tests.cloud.conftest import bring_up, config, introduce
from tests.cloud.kits import KITS
from tests.cloud.scripted_board import ScriptedBoard

SMALL = Retention(journal=50, events=300, operations=300, log_lines=300)
SLACK = 2 * 256 + 64  # rows that may wait for the next look
DAY = 86_400.0
TO_MIDNIGHT = DAY - EPOCH % DAY


# Memory


def test_a_journal_keeps_its_newest_items_and_their_positions() -> None:
    journal: Journal[int] = Journal(kept=100)
    for number in range(10_000):
        journal.append(number)
    assert len(journal) == 10_000
    assert 100 <= 10_000 - journal.first <= 110
    assert journal.since(9_950) == list(range(9_950, 10_000))
    assert journal.since() == list(range(journal.first, 10_000))
    assert journal.since() == journal.since()  # looking does not consume


def test_looking_behind_the_oldest_item_is_an_error_that_counts_what_is_gone() -> None:
    journal: Journal[int] = Journal(kept=100)
    for number in range(1_000):
        journal.append(number)
    gone = journal.first - 10
    with pytest.raises(NoLongerKept, match=rf"^{gone} entries since then are no longer kept"):
        journal.since(10)
    with pytest.raises(NoLongerKept):
        journal.wait(lambda number: number == 20, position=10, within=0.0)


def test_a_wait_does_not_miss_items_that_came_and_went_meanwhile() -> None:
    """Whoever waits for an item that is dropped before he can look at it hears so, instead of "it never came"."""
    journal: Journal[int] = Journal(kept=4)
    journal.append(0)

    def wanted(number: int) -> bool:
        for burst in range(1, 100):
            journal.append(burst)
        return number == 1

    with pytest.raises(NoLongerKept):
        journal.wait(wanted, position=0, within=10.0)


def test_marks_look_back_as_far_as_journals_reach_and_sums_for_ever(tmp_path: Path) -> None:
    with DeviceCloud(config(tmp_path, retention=SMALL)) as cloud:
        board = ScriptedBoard(KITS["argon"])
        introduce(board, cloud)
        bring_up(board, cloud)
        start = cloud.mark()
        for number in range(400):
            board.publish("count", str(number).encode())
        cloud.publish("settled")  # on the cloud's loop, behind all that follows an acknowledgement
        late = cloud.mark()
        board.publish("last", b"")
        cloud.events.expect("last", since=late)
        assert [event.name for event in cloud.events.all(since=late)] == ["last"]
        with pytest.raises(NoLongerKept, match="no longer kept"):
            cloud.events.all("count", since=start)
        with pytest.raises(NoLongerKept):
            cloud.operations.rows(since=start)
        with pytest.raises(NoLongerKept):
            cloud.operations.spent(start, device=board)
        assert cloud.operations.spent(start) == {"publish": 401}
        services = cloud.core.services
        for journal in (services.bus.journal, services.log.journal, services.presence.contacts):
            assert len(journal.since()) <= 54
        board.power_off()


def test_a_terminal_that_stands_still_costs_no_memory() -> None:
    activity, follower = Activity(lambda _device_id: "", lambda: EPOCH), Follower(most=10)
    with follower.listening(activity):
        for number in range(1_000):
            activity.tell(None, Noted(str(number)))
        seen = [next(iter(follower)) for _ in range(10)]
        activity.tell(None, Noted("after"))
        follower.stop()
        rest = list(follower)
    assert [entry.what for entry in seen] == [Noted(str(number)) for number in range(10)]
    left_out, after = [entry.what for entry in rest]
    assert isinstance(left_out, Noted)
    assert left_out.text.startswith("990 lines are left out here")
    assert after == Noted("after")


# Disk


def rows(store: Store, table: str) -> int:
    found = store.one(f"SELECT COUNT(*) AS count FROM {table}")
    return int(found["count"]) if found else 0


def test_tables_keep_their_newest_rows_and_the_file_stops_growing(tmp_path: Path) -> None:
    with DeviceCloud(config(tmp_path, retention=SMALL)) as cloud:
        board = ScriptedBoard(KITS["argon"])
        introduce(board, cloud)
        bring_up(board, cloud)
        sizes = []
        for _ in range(4):
            for number in range(700):
                board.publish("count", b"%d" % number)
            assert all(
                rows(cloud.core.store, table) <= 300 + SLACK
                for table in ("events", "operations", "device_log")
            )
            sizes.append((tmp_path / "cloud.sqlite").stat().st_size)
        newest = cloud.core.store.query("SELECT raw FROM events ORDER BY id DESC LIMIT 300")
        assert [int(row["raw"]) for row in newest] == list(range(699, 399, -1))
        assert sizes[-1] <= 1.05 * sizes[1]  # 1,400 events later
        board.power_off()


def test_what_is_older_than_the_days_goes(tmp_path: Path) -> None:
    clock = standing_clock()
    store = Store(tmp_path, clock.time)
    bus = EventBus(store, Retention(days=2))
    for _ in range(3):
        for number in range(600):
            bus.emit("daily", str(number), device_id=None, owner="hil")
        clock.advance(DAY)
    for number in range(600):
        bus.emit("daily", str(number), device_id=None, owner="hil")
    oldest = store.one("SELECT MIN(published_at) AS at FROM events")
    assert oldest is not None
    assert oldest["at"] >= clock.time() - 2 * DAY
    store.close()


def test_tokens_that_ended_long_ago_do_not_pile_up(tmp_path: Path) -> None:
    clock = standing_clock()
    with DeviceCloud(config(tmp_path), clock) as cloud:
        users = cloud.core.users
        forever = cloud.token("ada")
        for _ in range(20):
            users.issue_token("ada", 60)
        clock.advance(60 * DAY)
        users.issue_token("ada", 60)
        assert len(users.tokens_of(users.ensure("ada"))) == 22  # that one has ended is still said
        clock.advance(60 * DAY)
        users.issue_token("ada", 60)
        assert len(users.tokens_of(users.ensure("ada"))) == 3
        assert users.user_for_token(forever) is not None


# The ledger


def ledger_of(store: Store, retention: Retention) -> Ledger:
    store.migrate("operations", MIGRATIONS)
    return Ledger(store, Tariff(Policy()), retention)


def publish_many(ledger: Ledger, count: int) -> None:
    for _ in range(count):
        ledger.record(Charge(Action.PUBLISH, "a", "hil", "cause", event_name="x"))


def test_folded_operations_leave_their_sums_for_ever(tmp_path: Path) -> None:
    """Two devices over three days (UTC): no total changes when rows go, nor over a restart."""
    clock = standing_clock()
    store = Store(tmp_path, clock.time)
    ledger = ledger_of(store, SMALL)
    first_day = int(EPOCH // DAY)
    expected: Counter[tuple[int, str, str]] = Counter()
    clock.advance(TO_MIDNIGHT)
    for day in range(1, 4):
        for number in range(500):
            device, action = ("a", Action.PUBLISH) if number % 3 else ("b", Action.FUNCTION)
            ledger.record(Charge(action, device, "hil", "cause", event_name="x"))
            expected[first_day + day, device, "publish" if number % 3 else "function"] += 1
        clock.advance(DAY)
    store.close()
    store = Store(tmp_path, clock.time)
    ledger = ledger_of(store, SMALL)
    assert rows(store, "operations") <= 300 + SLACK
    assert ledger.total("hil") == 1_500
    assert ledger.total("somebody else") == 0
    midnight = (first_day + 1) * DAY
    assert [ledger.total("hil", midnight + day * DAY) for day in range(4)] == [1_500, 1_000, 500, 0]
    folded = Counter({(one.day, one.device_id, one.kind): one.count for one in ledger.days()})
    left = Counter((int(row.at // DAY), row.device_id, row.kind) for row in ledger.rows())
    assert folded + left == expected
    assert folded
    store.close()


def test_operations_are_not_folded_twice_when_the_fold_is_undone(tmp_path: Path) -> None:
    """A cloud that dies while it folds: sums and rows go together, or not at all."""
    store = Store(tmp_path, lambda: EPOCH)
    ledger = ledger_of(store, Retention(operations=100))
    publish_many(ledger, 200)
    store.execute("CREATE TRIGGER stop BEFORE DELETE ON operations BEGIN SELECT RAISE(ABORT, 'killed'); END")
    with pytest.raises(Exception, match="killed"):
        publish_many(ledger, 200)
    assert ledger.days() == []
    store.execute("DROP TRIGGER stop")
    before = ledger.total("hil")
    publish_many(ledger, 600)
    assert ledger.days() != []
    assert ledger.total("hil") == before + 600
    store.close()


# All together


def test_a_slice_of_the_soak_of_a_day(tmp_path: Path) -> None:
    """Four hours by the clock with a restart in the middle; the whole day is ``python -m benchmarks soak_day``."""
    limits = Retention(journal=60, events=300, operations=300, log_lines=300, days=0.1)
    day = live(tmp_path, hours=4, devices=3, minutes=120, retention=limits)
    assert (day.published, day.billed) == (1_440, 1_440)
    assert all(hour.offline == 0 for hour in day.hours)
    assert all(hour.kept <= 4 * 64 + 3 * (300 + SLACK) for hour in day.hours)
    assert day.growth(lambda hour: hour.kept) <= SLACK
