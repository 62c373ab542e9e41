"""Issue 6, point 8: a state that fails while a cloud runs refuses what it cannot store, and nothing is half done.

What is wrong when a cloud starts is in ``test_cloud_state_at_start.py``.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import httpx
import pytest

from hil.cli.livelog import Follower
from hil.cli.screen import Screen
from hil.clock import MovableClock
from hil.cloud.billing.feature import Billing
from hil.cloud.session.meter import Action, Charge
from hil.cloud.state.activity import Activity, Entry
from hil.cloud.state.happenings import Noted, Trouble
from hil.cloud.state.sessionstore import RESERVE
from hil.cloud.state.store import CALM
from hil.cloud.state.trouble import StateFailed
from hil.cloud.sync.facade import DeviceCloud
from hil.device.keys import generate_server_ec, public_der
from hil.device.platforms import by_name
from hil.errors import CloudError, NotFound
from hil.wire.coap.message import Code, Type, ping
from hil.wire.messages import event
from tests.clock.standing import standing_clock
from tests.cloud.commands import ANY_PORT, HIL, REPOSITORY, refused, run
from tests.cloud.conftest import bring_up, config, introduce
from tests.cloud.disks import on_small_disk, seen_by
from tests.cloud.kits import KITS
from tests.cloud.scripted_board import PATIENCE, ScriptedBoard

DEVICE = "e00fce68aabbccddeeff0011"


# A disk that is full


def test_a_disk_that_fills_up_refuses_events_and_the_cloud_goes_on(tmp_path: Path) -> None:
    """5.03 to a device and 503 over HTTP, said once; pings are answered; with room again all goes on."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = [*HIL, "cloud", "--state", str(disk / "state"), "--trust-first-use", "--json", *ANY_PORT]
    small = on_small_disk(disk, "2m", *command)
    with subprocess.Popen(
        small, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY
    ) as process:
        try:
            assert process.stdout is not None
            first = json.loads(process.stdout.readline())
            on_disk = seen_by(process.pid, disk)
            accepted = _fill_and_empty(first, on_disk)
            shutil.copytree(on_disk / "state", tmp_path / "copy", ignore=shutil.ignore_patterns("*.lock"))
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert (process.returncode, err) == (0, "")
    troubles = [line for line in map(json.loads, out.splitlines()) if line["kind"] == "trouble"]
    assert len(troubles) == 1
    assert troubles[0]["text"].startswith(f"the disk is full: {disk}/state/cloud.sqlite takes nothing more")
    # What was acknowledged is there, each with its Data Operation, and nothing else.
    with closing(sqlite3.connect(tmp_path / "copy/cloud.sqlite")) as opened:
        stored = [row[0] for row in opened.execute("SELECT raw FROM events WHERE name='n' ORDER BY id")]
        (billed,) = opened.execute("SELECT COUNT(*) FROM operations WHERE cause='publish n'").fetchone()
    assert stored == accepted
    assert billed == len(accepted)


def _fill_and_empty(cloud: dict[str, str], disk: Path) -> list[bytes]:
    """Let the disk fill up and make room again. Returns the data of the events that were acknowledged."""
    board = ScriptedBoard(KITS["argon"])
    host, udp = cloud["udp"].rsplit(":", 1)
    keys = [(disk / "state" / f"server_{kind}.pub.der").read_bytes() for kind in ("rsa", "ec")]
    board.dial(host, 0, int(udp), *keys)
    board.power_on()
    api = httpx.Client(
        base_url=cloud["url"], headers={"Authorization": f"Bearer {cloud['token']}"}, timeout=30
    )
    while not api.get(f"/v1/devices/{board.device_id}").json().get("functions"):
        os.sched_yield()
    accepted: list[bytes] = []

    def publish() -> bool:
        data = b"%0600d" % len(accepted)
        code = board.ask(event(board.next_mid(), "n", data, confirmable=True)).code
        assert code in (Code.EMPTY, Code.SERVICE_UNAVAILABLE)
        if code == Code.EMPTY:
            accepted.append(data)
        return code == Code.EMPTY

    assert publish()
    fill(disk / "filler")
    for _ in range(2000):
        if not publish():
            break
    assert not publish()
    answer = api.post("/v1/devices/events", json={"name": "n", "data": "x" * 600})
    assert (answer.status_code, answer.json()["error"]) == (503, "service_unavailable")
    assert str(disk.name) not in answer.text
    assert api.post(f"/v1/devices/{board.device_id}/led", json={"arg": "x" * 600}).status_code == 503
    assert board.ask(ping(board.next_mid())).code == Code.EMPTY
    assert api.get(f"/v1/devices/{board.device_id}").json()["online"] is True
    (disk / "filler").unlink()
    assert publish()
    assert api.post(f"/v1/devices/{board.device_id}/led", json={"arg": "x"}).json()["return_value"] == 1
    api.close()
    board.power_off()
    return accepted


def fill(filler: Path) -> None:
    """Take all the room there is on a disk."""
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    assert shutil.disk_usage(filler).free == 0


def test_a_cloud_that_starts_on_a_full_disk_says_so(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    result = run(*on_small_disk(disk, "16k", *HIL, "cloud", "--state", f"{disk}/state", *ANY_PORT))
    refused(result, f"the disk is full: {disk}/state/cloud.sqlite takes nothing more")


@pytest.fixture
def clock() -> MovableClock:
    return standing_clock()


@pytest.fixture
def crowded(tmp_path: Path, clock: MovableClock) -> Iterator[DeviceCloud]:
    """A cloud whose database may not grow any more, as on a full disk."""
    with DeviceCloud(config(tmp_path / "state"), clock) as cloud:
        cloud.register(DEVICE, platform_id=by_name("argon").id, public_key=public_der(generate_server_ec()))
        _let_grow(cloud, 1)  # never below what it has
        yield cloud
        _let_grow(cloud, 1 << 30)


def _let_grow(cloud: DeviceCloud, pages: int) -> None:
    cloud.core.store.query(f"PRAGMA max_page_count={pages}")


def _until_full(cloud: DeviceCloud) -> None:
    for _ in range(1000):
        try:
            cloud.publish("fill", "x" * 600)
        except StateFailed:
            return
    raise AssertionError("the database grows and grows")


def test_trouble_is_said_once_and_its_end_too(crowded: DeviceCloud, clock: MovableClock) -> None:
    told: list[str] = []

    def listen(entry: Entry) -> None:
        if isinstance(entry.what, Trouble):
            told.append(entry.what.text)

    crowded.core.activity.listeners.append(listen)
    for _ in range(3):
        _until_full(crowded)
    assert len(told) == 1
    _let_grow(crowded, 1 << 30)
    crowded.publish("fill", "x")
    assert len(told) == 1  # it may fail again in a moment
    clock.advance(CALM)
    crowded.publish("fill", "x")
    assert told[1:] == ["the state can be written again"]


def _first_refused(cloud: DeviceCloud) -> str:
    """Register devices until one no longer fits into the database; its id."""
    for number in range(1000):
        device_id, key = f"e00fce68{number:016x}", public_der(generate_server_ec())
        try:
            cloud.register(device_id, platform_id=13, public_key=key)
        except StateFailed:
            return device_id
    raise AssertionError("a thousand devices fit onto a full disk")


def test_what_is_refused_is_changed_in_memory_neither(crowded: DeviceCloud) -> None:
    """What of a device fits into the last page is stored; the first that does not fit is not there at all."""
    _until_full(crowded)
    seen = len(crowded.events.all())
    with pytest.raises(NotFound):
        crowded.device(_first_refused(crowded))
    assert len(crowded.events.all()) == seen


def test_a_session_that_cannot_be_stored_stops_before_a_record_number_could_be_used_twice(
    tmp_path: Path,
) -> None:
    """What is stored is good for 256 more records (RFC 6655 section 3: a nonce never comes again)."""
    with DeviceCloud(config(tmp_path)) as cloud:
        board = ScriptedBoard(KITS["argon"])
        introduce(board, cloud)
        bring_up(board, cloud)
        board.ask(ping(board.next_mid()))
        cloud.core.store.query("PRAGMA query_only=1")  # nothing can be written, everything can be read
        presence, position = cloud.core.services.presence, len(board.inbox)
        all_of_them = presence.heard(board.device_id) + RESERVE + 44
        for _ in range(RESERVE + 44):
            board.send(ping(board.next_mid()))
        assert presence.contacts.wait_until(
            lambda: presence.heard(board.device_id) == all_of_them, within=PATIENCE
        )
        cloud.device(board)  # asked on the cloud's loop: it is through with the last of them
        cloud.core.store.query("PRAGMA query_only=0")
        board.ask(ping(board.next_mid()))
        answered = [message for message in board.inbox.since(position) if message.type is Type.ACK]
        assert 0 < len(answered) - 1 <= RESERVE
        assert cloud.online(board)
        board.power_off()


def test_a_quiet_cloud_says_on_stderr_that_it_is_in_trouble(capsys: pytest.CaptureFixture[str]) -> None:
    follower = Follower()
    activity = Activity(lambda _device_id: "", lambda: 0.0)
    with follower.listening(activity):
        activity.tell(None, Noted("a line"))
        activity.tell(None, Trouble("the disk is full"))
    follower.stop()
    Screen(quiet=True).follow(follower)
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.endswith("cloud           trouble    the disk is full")


# Operations that are rolled back


def test_operations_that_are_undone_leave_no_phantom(tmp_path: Path) -> None:
    with DeviceCloud(config(tmp_path)) as cloud:
        ledger, store = cloud.core.feature(Billing).ledger, cloud.core.store

        def charge(action: Action, error: Exception | None = None) -> None:
            with store.transaction():
                ledger.record(Charge(action, None, "hil", action.name))
                if error is not None:
                    raise error

        mark = cloud.mark()
        with pytest.raises(CloudError, match="thought better of it"):
            charge(Action.FUNCTION, CloudError("thought better of it"))
        assert cloud.operations.spent(mark) == {}
        assert cloud.operations.rows(mark) == []
        with store.transaction():
            with pytest.raises(CloudError, match="not this part"):
                charge(Action.FUNCTION, CloudError("not this part"))
            charge(Action.VARIABLE)
            assert cloud.operations.spent(mark) == {}  # not committed yet
        assert cloud.operations.spent(mark) == {"variable": 1}
        assert [row.cause for row in ledger.rows()] == ["VARIABLE"]


def test_a_message_that_is_refused_half_way_changes_nothing(tmp_path: Path) -> None:
    """What a handler stored before it refused a message was kept, beside the refusal."""
    with DeviceCloud(config(tmp_path)) as cloud:
        board = ScriptedBoard(KITS["argon"])
        introduce(board, cloud)
        bring_up(board, cloud)
        cloud.core.services.meters.add(Refusing())
        mark = cloud.mark()
        answer = board.ask(event(board.next_mid(), "refused", b"1", confirmable=True))
        assert answer.code == Code.BAD_REQUEST
        row = cloud.core.store.one("SELECT COUNT(*) AS count FROM events WHERE name='refused'")
        assert row is not None
        assert row["count"] == 0
        assert cloud.operations.spent(mark) == {}
        board.power_off()


class Refusing:
    """A meter that finds something wrong when all the others have counted."""

    def allowed(self, _charge: Charge) -> bool:
        return True

    def record(self, charge: Charge) -> None:
        raise CloudError(f"no {charge.cause} today")
