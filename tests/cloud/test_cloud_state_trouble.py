"""Issue 6, point 8: whatever is wrong with the state is one message with the file's name, and nothing is half done."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from hil.cli.livelog import Follower
from hil.cli.main import main
from hil.cli.screen import Screen
from hil.clock import MovableClock
from hil.clock.movable import Reading
from hil.cloud.billing.feature import Billing
from hil.cloud.session.meter import Action, Charge
from hil.cloud.state.activity import Activity, Entry
from hil.cloud.state.happenings import Noted, Trouble
from hil.cloud.state.serverkeys import ServerKeys
from hil.cloud.state.sessionstore import RESERVE
from hil.cloud.state.store import CALM, Store
from hil.cloud.state.trouble import StateFailed
from hil.cloud.sync.facade import DeviceCloud
from hil.device.keys import generate_device_key, generate_server_ec, private_der, public_der
from hil.device.platforms import by_name
from hil.errors import CloudError, StateInUse, UsageError
from hil.wire.coap.message import Code, Type, ping
from hil.wire.messages import event, time_request
from tests.clock.standing import standing_clock
from tests.cloud.conftest import bring_up, config, introduce
from tests.cloud.disks import on_read_only, on_small_disk, seen_by
from tests.cloud.kits import KITS
from tests.cloud.scripted_board import PATIENCE, ScriptedBoard

REPOSITORY = Path(__file__).parents[2]
HIL = [sys.executable, "-m", "hil.cli.main"]
ANY_PORT = ["--tcp-port", "0", "--udp-port", "0", "--http-port", "0"]
YEAR_2107 = 4_323_283_200.0  # seconds from 1970 to the first moment of 2107
DEVICE = "e00fce68aabbccddeeff0011"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, timeout=60, check=False)


def run_here(*arguments: str) -> subprocess.CompletedProcess[str]:
    """``hil`` in this process: for what needs none of its own."""
    result = CliRunner().invoke(main, list(arguments))
    return subprocess.CompletedProcess(arguments, result.exit_code, result.stdout, result.stderr)


def refused(result: subprocess.CompletedProcess[str], *words: str) -> str:
    """What a command that has refused said: one message on stderr, nothing else."""
    assert result.returncode in (1, 2), result
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("Error: ") == 1
    assert "Traceback" not in result.stderr
    assert "what to do: " in result.stderr
    for word in words:
        assert word in result.stderr
    return result.stderr


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The state of a cloud that has run and knows an Argon."""
    directory = tmp_path / "state"
    key = public_der(generate_device_key(by_name("argon")))
    with DeviceCloud(config(directory)) as cloud:
        cloud.register(DEVICE, platform_id=by_name("argon").id, public_key=key)
    return directory


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


def test_what_is_refused_is_changed_in_memory_neither(crowded: DeviceCloud) -> None:
    _until_full(crowded)
    before, seen = crowded.device(DEVICE), len(crowded.events.all())
    with pytest.raises(StateFailed, match="the disk is full"):
        crowded.register(
            DEVICE, platform_id=13, public_key=public_der(generate_server_ec()), name="x" * 40_000
        )
    assert crowded.device(DEVICE) == before
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


# Files that are wrong when a cloud starts


@pytest.mark.parametrize("arguments", [ANY_PORT, ["devices"], ["register", DEVICE, "--key", "{key}"]])
def test_a_state_that_is_read_only_is_said_with_the_files_name(
    arguments: list[str], state: Path, tmp_path: Path
) -> None:
    key = tmp_path / "argon.der"
    key.write_bytes(private_der(generate_server_ec()))
    arguments = [argument.format(key=key) for argument in arguments]
    hil = [*HIL, "cloud", "--state", str(state), *arguments]
    refused(run(*on_read_only(state, *hil)), "Read-only file system", f"{state}/cloud.lock")


def test_a_database_that_is_read_only_is_said_with_its_name(state: Path) -> None:
    """The directory can be written, the file cannot, as after a copy by another user."""
    database = state / "cloud.sqlite"
    refused(run(*on_read_only(database, *HIL, "cloud", "--state", str(state), *ANY_PORT)), str(database))


@pytest.mark.parametrize("damage", ["header", "pages", "tail"])
def test_a_damaged_database_is_said_with_its_name(damage: str, state: Path) -> None:
    database = state / "cloud.sqlite"
    size = database.stat().st_size
    with database.open("r+b") as file:
        match damage:
            case "header":
                file.write(b"\xff" * 100)
            case "pages":
                file.seek(4096)
                file.write(b"\xff" * (size - 4096))
            case _:
                file.truncate(size - 3 * 4096)
    result = run_here("cloud", "--state", str(state), *ANY_PORT)
    refused(result, f"{database} is damaged", "put a copy of it back")


def test_a_database_that_is_damaged_while_the_cloud_runs_is_an_error_with_its_name(state: Path) -> None:
    with DeviceCloud(config(state)) as cloud:
        for number in range(300):
            cloud.publish("fill", f"{number:0600}")
        cloud.core.store.query("PRAGMA wal_checkpoint(TRUNCATE)")
        with (state / "cloud.sqlite").open("r+b") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(4096)
            file.write(b"\xff" * (size - 4096))
        cloud.core.store.query("PRAGMA shrink_memory")
        with pytest.raises(StateFailed, match=f"{state}/cloud.sqlite is damaged"):
            cloud.core.store.query("SELECT COUNT(*) FROM events")


@pytest.mark.parametrize("name", ["server_rsa.der", "server_ec.der"])
@pytest.mark.parametrize("content", [b"", b"\xff" * 300, "other"])
def test_a_damaged_server_key_is_said_with_its_name(name: str, content: bytes | str, state: Path) -> None:
    other = state / ("server_ec.der" if "rsa" in name else "server_rsa.der")
    damaged = other.read_bytes() if isinstance(content, str) else content
    (state / name).write_bytes(damaged)
    for arguments in (ANY_PORT, ["keys"]):
        result = run_here("cloud", "--state", str(state), *arguments)
        refused(result, f"the server key {state}/{name} is damaged", "hil cloud keys --make-missing")
    assert (state / name).read_bytes() == damaged


# A server key that is gone


@pytest.mark.parametrize("name", ["server_rsa.der", "server_ec.der"])
def test_a_missing_server_key_is_never_made_anew_while_boards_are_registered(name: str, state: Path) -> None:
    (state / name).unlink()
    for arguments in (ANY_PORT, ["devices"], ["keys"]):
        result = run_here("cloud", "--state", str(state), *arguments)
        refused(result, f"the server key {state}/{name} is gone", "1 registered board", "--make-missing")
        assert not (state / name).exists()
    other = next(path for path in (state / "server_rsa.der", state / "server_ec.der") if path.exists())
    kept = other.read_bytes()
    result = run_here("cloud", "keys", "--make-missing", "--state", str(state))
    assert result.returncode == 0, result
    assert (state / name).exists()
    assert other.read_bytes() == kept
    with DeviceCloud(config(state)) as cloud:
        assert [view.id for view in cloud.devices()] == [DEVICE]


def test_a_key_is_made_at_the_first_start_and_while_no_board_is_registered(tmp_path: Path) -> None:
    with DeviceCloud(config(tmp_path)) as cloud:
        first = cloud.server_keys.ec_public_der
    assert ServerKeys.load_or_create(tmp_path).ec_public_der == first
    (tmp_path / "server_ec.der").unlink()
    with DeviceCloud(config(tmp_path)) as cloud:
        assert cloud.server_keys.ec_public_der != first
        assert (tmp_path / "server_ec.pub.der").read_bytes() == cloud.server_keys.ec_public_der


# The year, and a second cloud


def test_a_clock_past_2106_is_refused_at_the_start(tmp_path: Path) -> None:
    clock = MovableClock(stands=True, reading=Reading(0.0, 0.0, YEAR_2107))
    with pytest.raises(UsageError, match="a time that cannot be told to a device") as caught:
        DeviceCloud(config(tmp_path), clock).start()
    assert "2106-02-07" in str(caught.value)


def test_a_clock_that_passes_2106_costs_devices_the_time_and_nothing_else(tmp_path: Path) -> None:
    clock = MovableClock(stands=True, reading=Reading(0.0, 0.0, YEAR_2107 - 366 * 86_400.0))
    with DeviceCloud(config(tmp_path), clock) as cloud:
        board = ScriptedBoard(KITS["electron"])
        introduce(board, cloud)
        bring_up(board, cloud)
        clock.advance(366 * 86_400.0)
        answer = board.ask(time_request(board.next_mid(), b"\x07"))
        assert (answer.code, answer.payload) == (Code.BAD_REQUEST, b"")
        assert "device time ends" in cloud.device_log(board)[-1]
        board.publish("still here", b"")
        assert cloud.events.expect("still here").published_at_iso.startswith("2107-01-01")
        board.power_off()


def test_two_clouds_on_one_state_are_told_apart_by_file_and_process(state: Path) -> None:
    with DeviceCloud(config(state)):
        with pytest.raises(StateInUse, match=f"{state}/cloud.lock locked by process {os.getpid()}"):
            Store(state)
        result = run_here("cloud", "--state", str(state), *ANY_PORT)
        said = refused(result, f"another cloud uses {state}", f"process {os.getpid()}")
        assert result.returncode == 2
        assert said.count("found:") == 1
