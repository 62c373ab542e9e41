"""Rig files: the ones that are shipped, and what a mistake is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from hil.errors import UsageError
from hil.rig.rigfile import CommandTable, TasmotaTable, UhubctlTable, find_rig, load_rig

RIGS = Path(__file__).parents[2] / "rigs"
GOOD = """
name = "x"
[cloud]
host = "198.18.0.2"
[[slots]]
name = "a"
port = "1-1"
platform = "argon"
device_os = "6.2.0"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "rig.toml"
    path.write_text(text)
    return path


def mistakes(folder: Path, text: str) -> str:
    with pytest.raises(UsageError) as caught:
        load_rig(write(folder, text))
    return caught.value.found


def test_the_virtual_rig_has_a_board_of_each_kind_of_transport() -> None:
    rig = load_rig(RIGS / "virtual.toml")
    assert [(slot.name, slot.port, slot.device_os) for slot in rig.slots] == [
        ("photon-1", "1-1", "2.3.1"),
        ("electron-1", "1-2", "3.3.1"),
        ("argon-1", "1-3", "6.2.0"),
        ("boron-1", "1-4", "2.3.1"),
    ]
    assert {slot.board_platform.transport for slot in rig.slots} == {"tcp", "dtls"}
    assert (rig.cloud.host, rig.cloud.tcp_port, rig.cloud.udp_port) == ("198.18.0.2", 5683, 5684)
    assert rig.network.kind == "service"


def test_the_example_bench_is_valid_and_shows_every_power_switch() -> None:
    slots = load_rig(RIGS / "example-bench.toml").slots
    assert [type(slot.power) for slot in slots] == [UhubctlTable, CommandTable, TasmotaTable]
    assert slots[2].variant == "E Series"


def test_the_launcher_s_table_is_not_looked_at(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD + '[virtual]\nboards = [{ port = "1-1", anything = 1 }]\n')
    assert load_rig(path).name == "x"


def test_an_unknown_key_is_named_with_its_place_and_a_suggestion(tmp_path: Path) -> None:
    text = mistakes(tmp_path, GOOD + 'adress = "10.0.0.1"\n')
    assert "slots[1].adress: no such key, did you mean 'address'?" in text
    text = mistakes(tmp_path, GOOD + 'power = { kind = "uhubctl", hub = "1", port = 1, delay = 2 }\n')
    assert "slots[1].power.uhubctl.delay: no such key; known: kind, hub, port" in text


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    bad = GOOD.replace('"argon"', '"argn"').replace('"6.2.0"', '"six"').replace('"1-1"', '"usb1"')
    text = mistakes(tmp_path, bad)
    assert "did you mean 'argon'?" in text
    assert "slots[1].device_os: a Device OS release" in text
    assert "slots[1].port: a USB port path" in text


@pytest.mark.parametrize("key", ["name", "port"])
def test_two_slots_may_not_share_a_name_or_a_port(tmp_path: Path, key: str) -> None:
    second = '[[slots]]\nname = "b"\nport = "1-2"\nplatform = "argon"\ndevice_os = "6.2.0"\n'
    second = second.replace('"b"', '"a"') if key == "name" else second.replace('"1-2"', '"1-1"')
    assert f"two slots have the {key}" in mistakes(tmp_path, GOOD + second)


def test_a_rig_without_slots_or_toml_or_file_says_so(tmp_path: Path) -> None:
    assert "slots" in mistakes(tmp_path, 'name = "x"\nslots = []\n[cloud]\nhost = "h"\n')
    assert "line 1" in mistakes(tmp_path, "name = \n")
    with pytest.raises(UsageError, match="no rig file"):
        load_rig(tmp_path / "none.toml")


def test_the_rig_is_the_given_one_then_the_environment_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIL_RIG", "/etc/hil/bench.toml")
    assert find_rig(Path("mine.toml")) == Path("mine.toml")
    assert find_rig() == Path("/etc/hil/bench.toml")
    monkeypatch.delenv("HIL_RIG")
    assert find_rig() == Path("rigs/virtual.toml")
