"""A board's memory follows the platform and the Device OS release that the rig file gives it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hil.device.platforms import by_name
from hil.device.releases import system_module_version
from hil.virtual.hardware.loader import Boot
from hil.virtual.hardware.machine import Machine
from hil.virtual.hardware.memory import take_memory
from hil.virtual.launch.images import Release, build_image

ID = "e00fce68aabbccddeeff0011"


def machine(state: Path, name: str, device_os: str) -> tuple[Machine, tuple[str, ...]]:
    """The board as a rack starts it, and what was said about its memory."""
    memory = take_memory(state, ID, by_name(name), device_os)
    return Machine(by_name(name), device_os, ID, memory.directory), memory.changes


def start(board: Machine) -> Boot:
    return board.start("power_down", safe=False, listening=False)


def flash(board: Machine, application: str) -> None:
    board.apply_update(build_image(Release(application, 1), board.platform, board.device_os))
    board.flush()


def test_the_same_board_finds_its_memory(tmp_path: Path) -> None:
    first, said = machine(tmp_path, "argon", "6.2.0")
    flash(first, "blinker")
    again, said_again = machine(tmp_path, "argon", "6.2.0")
    assert (said, said_again) == ((), ())
    assert again.device_private_der() == first.device_private_der()
    outcome = start(again)
    assert outcome.application is not None
    assert outcome.application.name == "blinker"


def test_another_platform_begins_from_the_factory_and_nothing_is_lost(tmp_path: Path) -> None:
    argon, _ = machine(tmp_path, "argon", "6.2.0")
    flash(argon, "blinker")
    photon, said = machine(tmp_path, "photon", "2.3.1")
    outcome = start(photon)
    assert outcome.system_ok
    assert outcome.application is not None
    assert outcome.application.name == "tinker"
    assert photon.device_private_der() != argon.device_private_der()
    (line,) = said
    assert "argon" in line
    assert str(tmp_path / f"{ID}.argon") in line
    # The rig goes back: so does the memory.
    back, said = machine(tmp_path, "argon", "6.2.0")
    outcome = start(back)
    assert outcome.application is not None
    assert outcome.application.name == "blinker"
    assert back.device_private_der() == argon.device_private_der()
    assert str(tmp_path / f"{ID}.photon") in said[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == [ID, f"{ID}.photon"]


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [("argon", "2.3.1", "6.2.0"), ("photon", "2.3.1", "3.3.1"), ("electron", "2.3.1", "3.3.1")],
)
def test_a_newer_release_keeps_keys_and_application(tmp_path: Path, name: str, old: str, new: str) -> None:
    before, _ = machine(tmp_path, name, old)
    flash(before, "blinker")
    key = before.device_private_der()
    after, said = machine(tmp_path, name, new)
    outcome = start(after)
    assert outcome.system_ok
    assert not outcome.safe_mode
    assert outcome.application is not None
    assert outcome.application.name == "blinker"
    assert after.device_private_der() == key
    versions = {
        module.version
        for module in after.system_describe().modules
        if module.function == "s" and module.index == 1
    }
    assert versions == {system_module_version(new)}
    assert said == (
        f"its system parts were of Device OS {old} and are of {new} now; keys and application are kept",
    )
    assert machine(tmp_path, name, new)[1] == ()


@pytest.mark.parametrize(
    ("name", "new", "old", "words"),
    [
        ("photon", "3.3.1", "2.3.1", "safe mode until it is flashed anew"),
        ("argon", "6.2.0", "2.3.1", "is not one of this release"),
    ],
)
def test_an_older_release_keeps_the_keys_and_says_what_becomes_of_the_application(
    tmp_path: Path, name: str, new: str, old: str, words: str
) -> None:
    before, _ = machine(tmp_path, name, new)
    key = before.device_private_der()
    after, said = machine(tmp_path, name, old)
    outcome = start(after)
    assert outcome.system_ok
    assert outcome.application is None
    assert after.device_private_der() == key
    assert words in said[0]
    flash(after, "blinker")
    outcome = start(after)
    assert outcome.application is not None
    assert outcome.application.name == "blinker"


def test_memory_from_before_there_were_labels_is_kept_if_it_fits(tmp_path: Path) -> None:
    argon, _ = machine(tmp_path, "argon", "6.2.0")
    (tmp_path / ID / "board.json").unlink()
    same, said = machine(tmp_path, "argon", "6.2.0")
    assert said == ()
    assert same.device_private_der() == argon.device_private_der()
    (tmp_path / ID / "board.json").unlink()
    photon, said = machine(tmp_path, "photon", "2.3.1")
    assert start(photon).system_ok
    assert str(tmp_path / f"{ID}.unknown") in said[0]


@pytest.mark.parametrize("label", ["", "{", "[]", '{"platform": "argon"}'])
def test_a_label_that_cannot_be_read_is_as_none(tmp_path: Path, label: str) -> None:
    argon, _ = machine(tmp_path, "argon", "6.2.0")
    (tmp_path / ID / "board.json").write_text(label)
    same, said = machine(tmp_path, "argon", "6.2.0")
    assert said == ()
    assert same.device_private_der() == argon.device_private_der()
    assert json.loads((tmp_path / ID / "board.json").read_text()) == {
        "platform": "argon",
        "device_os": "6.2.0",
    }


def test_what_is_kept_aside_is_never_written_over(tmp_path: Path) -> None:
    for _ in range(2):
        machine(tmp_path, "argon", "6.2.0")
        (tmp_path / ID / "board.json").write_text('{"platform": "boron", "device_os": "2.3.1"}')
        machine(tmp_path, "argon", "6.2.0")
    assert sorted(path.name for path in tmp_path.iterdir()) == [ID, f"{ID}.boron", f"{ID}.boron.2"]
