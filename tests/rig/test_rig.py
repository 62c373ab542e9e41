"""Rig files: the ones that are shipped, and what a mistake is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from hil.errors import UsageError
from hil.rig.rigfile import CommandTable, RackLimits, TasmotaTable, UhubctlTable, find_rig, load_rig

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


def test_a_rig_says_what_the_api_answers_about_an_offline_device(tmp_path: Path) -> None:
    """Issue 6, point 10."""
    assert load_rig(write(tmp_path, GOOD)).cloud.policy.offline_status == 400
    documented = GOOD.replace("[[slots]]", "offline_status = 404\n[[slots]]")
    assert load_rig(write(tmp_path, documented)).cloud.policy.offline_status == 404
    assert "one of 400, 404 is expected" in mistakes(tmp_path, documented.replace("404", "403"))


def test_the_example_bench_is_valid_and_shows_every_power_switch() -> None:
    slots = load_rig(RIGS / "example-bench.toml").slots
    assert [type(slot.power) for slot in slots] == [UhubctlTable, CommandTable, TasmotaTable]
    assert slots[2].variant == "E Series"


def test_6_15_an_address_may_be_left_out_and_is_one_when_it_is_there(tmp_path: Path) -> None:
    assert load_rig(write(tmp_path, GOOD)).slots[0].address is None
    assert load_rig(write(tmp_path, GOOD + 'address = "10.0.0.1"\n')).slots[0].address == "10.0.0.1"
    assert "IPv4 address" in mistakes(tmp_path, GOOD + 'address = "10.0.0"\n')


def test_a_variant_is_the_board_s_kind_and_a_word_that_tests_ask_for() -> None:
    slots = load_rig(RIGS / "example-bench.toml").slots
    assert [(slot.kind, slot.offers) for slot in slots] == [
        ("argon", frozenset({"ethernet"})),
        ("photon", frozenset()),
        ("E Series", frozenset({"sim", "E Series"})),
    ]


def test_a_slot_may_say_the_keep_alive_of_its_application(tmp_path: Path) -> None:
    """Issue 6, point 9."""
    (slot,) = load_rig(write(tmp_path, GOOD + "keep_alive = 60\n")).slots
    assert slot.keep_alive == 60.0
    assert load_rig(write(tmp_path, GOOD)).slots[0].keep_alive is None
    for wrong in ("0", "-1", "1e9", "nan", '"a minute"'):
        assert "slots[1].keep_alive" in mistakes(tmp_path, GOOD + f"keep_alive = {wrong}\n")


def test_a_debugger_is_refused_with_what_to_do(tmp_path: Path) -> None:
    text = mistakes(tmp_path, GOOD + 'debugger = { serial = "1" }\n')
    assert "slots[1].debugger: no such key any more; hil drives no debugger" in text


def test_an_unknown_key_is_named_with_its_place_and_a_suggestion(tmp_path: Path) -> None:
    text = mistakes(tmp_path, GOOD + 'adress = "10.0.0.1"\n')
    assert "rig.toml:10: slots[1].adress: no such key, did you mean 'address'?" in text
    text = mistakes(tmp_path, GOOD + 'power = { kind = "uhubctl", hub = "1", port = 1, delay = 2 }\n')
    assert "slots[1].power.uhubctl.delay: no such key; known: kind, hub, port" in text


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    bad = GOOD.replace('"argon"', '"argn"').replace('"6.2.0"', '"six"').replace('"1-1"', '"usb1"')
    text = mistakes(tmp_path, bad)
    assert "did you mean 'argon'?" in text
    assert "rig.toml:9: slots[1].device_os: a Device OS release" in text
    assert "rig.toml:7: slots[1].port: a USB port path" in text
    assert [line.split(":")[1] for line in text.strip().splitlines()] == ["7", "8", "9"]


def test_doubles_are_told_together_with_other_mistakes(tmp_path: Path) -> None:
    device = 'device_id = "e00fce68aabbccddeeff0011"\n'
    first = GOOD.replace('"6.2.0"', '"six"') + device
    second = '[[slots]]\nname = "a"\nport = "1-1"\nplatform = "argon"\ndevice_os = "6.2.0"\n' + device
    text = mistakes(tmp_path, first + second)
    assert [line.strip() for line in text.strip().splitlines()] == [
        f'{tmp_path}/rig.toml:9: slots[1].device_os: a Device OS release such as "6.2.0" is expected',
        f"{tmp_path}/rig.toml:12: slots[2].name: slots[1] has 'a' too",
        f"{tmp_path}/rig.toml:13: slots[2].port: slots[1] has '1-1' too",
        f"{tmp_path}/rig.toml:16: slots[2].device_id: slots[1] has 'e00fce68aabbccddeeff0011' too",
    ]


LIMITS = RackLimits(("photon", "argon"), ("2.3.1", "6.2.0"), ("1-1", "1-2"))


def refused(folder: Path, text: str) -> list[str]:
    """What the virtual rack refuses of a rig, without the path of the file."""
    with pytest.raises(UsageError) as caught:
        load_rig(write(folder, text), LIMITS)
    return [line.partition("rig.toml:")[2] for line in caught.value.found.strip().splitlines()]


def test_a_rig_is_told_what_the_virtual_rack_cannot_be(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.replace('"6.2.0"', '"6.2.1"'))
    assert load_rig(path).slots[0].device_os == "6.2.1", "a real board may run any release"
    assert refused(tmp_path, path.read_text()) == [
        "5: slots[1].device_id: a virtual board needs one: 24 hex digits in lower case",
        "9: slots[1].device_os: virtual boards know the releases 2.3.1, 6.2.0, did you mean '6.2.0'?",
    ]
    bad = GOOD.replace('"argon"', '"core"').replace('"1-1"', '"1-1.4"') + f'device_id = "{"0" * 24}"\n'
    assert refused(tmp_path, bad) == [
        "7: slots[1].port: the virtual rack has the ports 1-1 to 1-2",
        "8: slots[1].platform: there is no virtual core; there are photon, argon",
    ]


def test_the_boards_of_the_rack_may_be_others_than_the_slots(tmp_path: Path) -> None:
    good = '{ port = "1-1", platform = "photon", device_os = "2.3.1", device_id = "%s" }' % ("a" * 24)
    other = good.replace("1-1", "1-2").replace("a" * 24, "b" * 24)
    rig = load_rig(write(tmp_path, GOOD + f"[virtual]\nboards = [{good}, {other}]\n"), LIMITS)
    assert [(board.slot, board.port, board.platform.name, board.device_id) for board in rig.boards] == [
        ("a", "1-1", "photon", "a" * 24),
        ("virtual-2", "1-2", "photon", "b" * 24),
    ]
    bad = f"[virtual]\nboards = [\n{good},\n{good.replace('photon', 'foton')},\n{{ prot = 1 }}]\n"
    text = "\n".join(refused(tmp_path, GOOD + bad))
    assert "13: virtual.boards[2].platform: one of core, photon" in text
    assert "13: virtual.boards[2].device_id: virtual.boards[1] has" in text
    assert "14: virtual.boards[3].prot: no such key, did you mean 'port'?" in text
    assert refused(tmp_path, GOOD + "[virtual]\nboards = []\n")[0].startswith("11: virtual.boards: at least")


def test_words_of_a_table_are_suggested(tmp_path: Path) -> None:
    text = mistakes(tmp_path, GOOD + 'power = { kind = "uhubctrl" }\n')
    assert "rig.toml:10: slots[1].power: one of none, uhubctl, tasmota, command" in text
    assert "did you mean 'uhubctl'?" in text
    text = mistakes(tmp_path, GOOD + '[network]\nkind = "servce"\n')
    assert "rig.toml:11: network.kind: one of service, none is expected, did you mean 'service'?" in text


def test_an_image_is_named_as_an_application_is(tmp_path: Path) -> None:
    text = mistakes(tmp_path, GOOD + '[firmware.images]\n"green house" = "x.bin"\n')
    assert 'rig.toml:11: firmware.images.green house: an application such as "greenhouse"' in text


@pytest.mark.parametrize("template", ["build/{plattform}.bin", "build/{}.bin", "build/{platform.bin", "{0}"])
def test_a_template_of_an_image_knows_the_platform_only(tmp_path: Path, template: str) -> None:
    images = f'[firmware.images]\n"greenhouse@2" = "{template}"\n'
    assert "rig.toml:11: firmware.images.greenhouse@2: a path is expected" in mistakes(
        tmp_path, GOOD + images
    )


def test_paths_of_a_rig_are_those_of_its_project_whatever_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    team, elsewhere = tmp_path / "team", tmp_path / "elsewhere"
    (team / "rigs").mkdir(parents=True)
    elsewhere.mkdir()
    (team / "pyproject.toml").write_text('[tool.hil]\napplications = ["firmware", "apps"]\n')
    text = (
        GOOD
        + '[firmware]\ndirectory = "target"\napplications = ["apps"]\nimages = { a = "b/{platform}.bin" }\n'
    )
    path = write(team / "rigs", text + '[network]\nsocket = "/run/n.sock"\n')
    monkeypatch.chdir(elsewhere)
    rig = load_rig(path)
    assert rig.firmware.directory == team / "target"
    assert rig.network.socket == Path("/run/n.sock")
    assert rig.applications == (team / "apps", team / "firmware")
    assert rig.path(rig.firmware.images["a"].format(platform="argon")) == team / "b/argon.bin"
    assert load_rig(write(team / "rigs", GOOD)).firmware.directory == team / ".hil/images"


def test_the_rig_that_comes_with_hil_belongs_to_the_project_around_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pytest.ini").touch()
    (tmp_path / "suites").mkdir()
    monkeypatch.chdir(tmp_path / "suites")
    assert load_rig(RIGS / "virtual.toml").firmware.directory == tmp_path / ".hil/images"


def test_a_rig_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    (tmp_path / "some").mkdir()
    (tmp_path / "some/bench.toml").touch()
    with pytest.raises(UsageError, match=r"some is a directory\n  found: in it: bench.toml"):
        load_rig(tmp_path / "some")
    (tmp_path / "loop.toml").symlink_to("loop.toml")
    with pytest.raises(UsageError, match="cannot read rig file"):
        load_rig(tmp_path / "loop.toml")
    (tmp_path / "other.toml").write_bytes(b"name = '\xff'\n")
    with pytest.raises(UsageError, match="is not TOML"):
        load_rig(tmp_path / "other.toml")


def test_a_rig_without_slots_or_toml_or_file_says_so(tmp_path: Path) -> None:
    assert "slots" in mistakes(tmp_path, 'name = "x"\nslots = []\n[cloud]\nhost = "h"\n')
    assert "line 1" in mistakes(tmp_path, "name = \n")
    with pytest.raises(UsageError, match="no rig file"):
        load_rig(tmp_path / "none.toml")


def test_the_rig_is_the_given_one_then_the_environment_s_then_the_project_s_then_the_virtual_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text('[tool.hil]\nrig = "rigs/bench.toml"\n')
    monkeypatch.setenv("HIL_RIG", "/etc/hil/bench.toml")
    assert find_rig(Path("mine.toml")) == Path("mine.toml")
    assert find_rig() == Path("/etc/hil/bench.toml")
    monkeypatch.delenv("HIL_RIG")
    assert find_rig() == tmp_path / "rigs/bench.toml"
    (tmp_path / "pyproject.toml").unlink()
    assert find_rig() == RIGS / "virtual.toml"
