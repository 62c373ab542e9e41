"""Issue 6, point 8: whatever is wrong with the state when a cloud starts is one message with the file's name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hil.clock import MovableClock
from hil.clock.movable import Reading
from hil.cloud.state.happenings import Trouble
from hil.cloud.state.serverkeys import ServerKeys
from hil.cloud.state.store import Store
from hil.cloud.state.trouble import StateFailed
from hil.cloud.sync.facade import DeviceCloud
from hil.device.keys import generate_device_key, generate_server_ec, private_der, public_der
from hil.device.platforms import by_name
from hil.errors import StateInUse, UsageError
from hil.wire.coap.message import Code
from hil.wire.messages import time_request
from tests.cloud.commands import ANY_PORT, HIL, refused, run, run_here
from tests.cloud.conftest import bring_up, config, introduce
from tests.cloud.disks import on_read_only
from tests.cloud.kits import KITS
from tests.cloud.scripted_board import ScriptedBoard

YEAR_2107 = 4_323_283_200.0  # seconds from 1970 to the first moment of 2107
LAST_SECOND = 2.0**32 - 1  # what 32 bits of seconds reach: 2106-02-07T06:28:15 UTC
DEVICE = "e00fce68aabbccddeeff0011"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The state of a cloud that has run and knows an Argon."""
    directory = tmp_path / "state"
    key = public_der(generate_device_key(by_name("argon")))
    with DeviceCloud(config(directory)) as cloud:
        cloud.register(DEVICE, platform_id=by_name("argon").id, public_key=key)
    return directory


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
        assert [entry.what for entry in cloud.core.activity.recent() if isinstance(entry.what, Trouble)] != []


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
    clock = MovableClock(stands=True, reading=Reading(0.0, 0.0, LAST_SECOND - 3600.0))
    with DeviceCloud(config(tmp_path), clock) as cloud:
        board = ScriptedBoard(KITS["electron"])
        introduce(board, cloud)
        bring_up(board, cloud)
        clock.advance(2 * 3600.0)
        answer = board.ask(time_request(board.next_mid(), b"\x07"))
        assert (answer.code, answer.payload) == (Code.BAD_REQUEST, b"")
        assert "device time ends" in cloud.device_log(board)[-1]
        board.publish("still here", b"")
        assert cloud.events.expect("still here").published_at_iso.startswith("2106-02-07T07:28")
        board.power_off()


def test_two_clouds_on_one_state_are_told_apart_by_file_and_process(state: Path) -> None:
    with DeviceCloud(config(state)):
        with pytest.raises(StateInUse, match=f"{state}/cloud.lock locked by process {os.getpid()}"):
            Store(state)
        result = run_here("cloud", "--state", str(state), *ANY_PORT)
        said = refused(result, f"another cloud uses {state}", f"process {os.getpid()}")
        assert result.returncode == 2
        assert said.count("found:") == 1
