"""``hil cloud register`` at a cloud that runs: for any owner, many at once, all or none. Issue 6, point 11."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from hil.cli.cloud_devices import announced
from hil.cli.main import main
from hil.cli.screen import token_of
from hil.cloud.sync.facade import DeviceCloud
from hil.device.keys import generate_device_key, private_der, public_der
from hil.device.platforms import Transport
from tests.cloud.conftest import config

OWNER = "ann@example.com"
MANY = 24


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def running(state: Path) -> Iterator[DeviceCloud]:
    """A cloud that `hil cloud` commands find, as `hil cloud` itself leaves word of it."""
    with (
        DeviceCloud(config(state, http_port=0)) as cloud,
        announced(state, cloud.url, token_of(cloud.core.users, "hil"), "hil"),
    ):
        yield cloud


def hil_cloud(*arguments: str, state: Path, fails: bool = False, text: str | None = None) -> str:
    result = CliRunner().invoke(main, ["cloud", *arguments, "--state", str(state)], input=text)
    assert (result.exit_code != 0) is fails, result.output
    return result.output


def id_of(number: int) -> str:
    return f"e00fce68aabbccdd{number:08x}"


def key_file(folder: Path, number: int) -> bytes:
    """Writes the key of a device; returns its public half."""
    key = generate_device_key(Transport.DTLS)
    (folder / f"{number}.der").write_bytes(private_der(key))
    return public_der(key)


def test_another_owner_while_the_cloud_runs(running: DeviceCloud, state: Path, tmp_path: Path) -> None:
    public = key_file(tmp_path, 1)
    said = hil_cloud(
        "register", id_of(1), "--key", str(tmp_path / "1.der"), "--owner", OWNER, "--platform", "boron",
        "--name", "shed", state=state,
    )  # fmt: skip
    assert said.endswith(f"claimed by {OWNER}\n")
    device = running.device(id_of(1))
    assert (device.owner, device.name, device.platform_id) == (OWNER, "shed", 13)
    assert device.keys == {Transport.DTLS: public}
    assert "shed" in hil_cloud("devices", state=state)


@pytest.mark.parametrize("up", [True, False], ids=["running", "stopped"])
def test_a_list_registers_all_its_devices(
    up: bool, state: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if up:
        request.getfixturevalue("running")
    keys = {id_of(number): key_file(tmp_path, number) for number in range(MANY)}
    lines = [f"{id_of(number)} {number}.der argon 'bed {number}'" for number in range(MANY - 1)]
    listed = tmp_path / "bench.txt"
    listed.write_text("\n".join(["# ours", *lines, "", f"{id_of(MANY - 1)} {MANY - 1}.der  # no name"]))
    said = hil_cloud("register", "--list", str(listed), "--owner", OWNER, state=state)
    assert said.count(f"claimed by {OWNER}\n") == MANY == len(keys)
    shown = hil_cloud("devices", state=state)
    assert all(f"{id_of(number)}  argon      bed {number} " in shown for number in range(MANY - 1))
    assert f"{id_of(MANY - 1)}  argon      {id_of(MANY - 1)[-6:]} " in shown


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("e00fce68 2.der", "line 2: not a device id"),
        (f"{id_of(2)} 3.der", "line 2: cannot read the key file"),
        (f"{id_of(2)} 2.der arduino", "line 2: not a platform"),
        (f"{id_of(2)} 2.der argon a b", "line 2: not a device"),
        (f"{id_of(2)} '2.der", "line 2: No closing quotation"),
        (f"{id_of(2)} 1.der", "two devices of the list have the same key"),
        (f"{id_of(1)} 2.der", "two devices of the list have the same id"),
        (f"{id_of(2)} 2.der argon shed", "two devices of the list have the same name"),
        (f"{id_of(2)} 2.der argon door", f"device {id_of(9)} of the same account is called 'door' already"),
    ],
)
def test_a_list_with_a_mistake_registers_nothing(
    line: str, said: str, running: DeviceCloud, state: Path, tmp_path: Path
) -> None:
    for number in (1, 2, 9):
        key_file(tmp_path, number)
    hil_cloud("register", id_of(9), "--key", str(tmp_path / "9.der"), "--name", "door", state=state)
    (tmp_path / "bench.txt").write_text(f"{id_of(1)} 1.der argon shed\n{line}\n")
    assert said in hil_cloud("register", "--list", str(tmp_path / "bench.txt"), state=state, fails=True)
    assert [device.id for device in running.devices()] == [id_of(9)]


def test_a_list_from_a_pipe(running: DeviceCloud, state: Path, tmp_path: Path) -> None:
    key_file(tmp_path, 1)
    hil_cloud("register", "--list", "-", state=state, text=f"{id_of(1)} {tmp_path}/1.der\n")
    assert [(device.id, device.owner) for device in running.devices()] == [(id_of(1), "hil")]


def test_another_board_in_a_slot_takes_its_name_over(running: DeviceCloud, tmp_path: Path) -> None:
    """What a run does for the board that it finds in a slot, whatever was there before."""
    for number in (1, 2):
        running.register(id_of(number), platform_id=12, public_key=key_file(tmp_path, number), name="argon-1")
    assert [(device.id, device.name) for device in running.devices()] == [
        (id_of(1), id_of(1)[-6:]),
        (id_of(2), "argon-1"),
    ]


def test_only_the_harness_may_register_for_others(running: DeviceCloud) -> None:
    running.create_user("eve", "pw")
    with httpx.Client(base_url=running.url, trust_env=False) as client:
        # Whatever client a token is asked for: it does not become the harness's.
        form = {"username": "eve", "password": "pw", "client_id": "hil cloud"}
        token = client.post("/oauth/token", data=form).json()["access_token"]
        body = {"owner": "hil", "devices": [{"id": id_of(1), "public_key": ""}]}
        for given in (token, running.token("eve")):
            bearer = {"Authorization": f"Bearer {given}"}
            assert client.post("/hil/devices", json=body, headers=bearer).status_code == 403
            assert client.get("/hil/devices", headers=bearer).status_code == 403
    assert running.devices() == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"devices": []},
        {"devices": [1]},
        {"devices": [{"id": id_of(1)}]},
        {"devices": [{"id": id_of(1), "public_key": "xy"}]},
        {"devices": [{"id": id_of(1), "public_key": "00"}]},
        {"devices": [{"id": id_of(1), "public_key": "00", "platform_id": "argon"}]},
        {"devices": [{"id": id_of(1), "public_key": "00", "name": 7}]},
    ],
)
def test_what_is_no_list_of_devices(running: DeviceCloud, body: dict[str, object]) -> None:
    bearer = {"Authorization": f"Bearer {token_of(running.core.users, 'hil')}"}
    answer = httpx.post(f"{running.url}/hil/devices", json=body, headers=bearer, trust_env=False)
    assert (answer.status_code, answer.json()["ok"]) == (400, False)
