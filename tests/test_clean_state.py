"""``make clean-state`` says what it is about to lose before it loses it, and ``make clean`` loses none of it."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from hil.cloud.config import CloudConfig
from hil.cloud.sync.facade import DeviceCloud
from hil.device.keys import generate_device_key, public_der
from hil.device.platforms import by_name

ROOT = Path(__file__).parents[1]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """What two runs would keep: the cloud's keys, one registered device, the memory of one virtual board."""
    config = CloudConfig(state_dir=tmp_path / "cloud", tcp_port=0, udp_port=0, http_port=None)
    key = public_der(generate_device_key(by_name("argon")))
    with DeviceCloud(config) as cloud:
        cloud.register("e00fce68aabbccddeeff0011", platform_id=by_name("argon").id, public_key=key, name="a")
    (tmp_path / "virtual" / "e00fce68aabbccddeeff0011").mkdir(parents=True)
    return tmp_path


def clean_state(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ROOT / "scripts/clean-state"), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_it_says_what_will_be_lost_and_takes_nothing_without_a_word(state: Path) -> None:
    done = clean_state(str(state))
    assert done.returncode == 1
    digest = hashlib.sha256((state / "cloud/server_rsa.pub.der").read_bytes()).hexdigest()[:16]
    assert digest in done.stdout
    assert "1 registered devices with their keys" in done.stdout
    assert "flash and settings of 1 virtual boards (e00fce68aabbccddeeff0011)" in done.stdout
    assert "YES=1" in done.stdout
    assert (state / "cloud/server_rsa.pub.der").is_file()
    assert clean_state("--yes", str(state)).returncode == 0
    assert not state.exists()
    assert "nothing is kept" in clean_state(str(state)).stdout


def test_what_was_played_with_is_said_too(state: Path) -> None:
    (state / "play").mkdir()
    for name, place in (("cloud", "cloud"), ("virtual", "boards")):
        (state / name).rename(state / "play" / place)
    said = clean_state(str(state)).stdout
    assert "of hil rack run --cloud: 1 registered devices with their keys" in said
    assert (
        "of hil rack run --cloud: flash and settings of 1 virtual boards (e00fce68aabbccddeeff0011)" in said
    )


def test_make_clean_keeps_keys_and_registrations(
    state: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    clone = tmp_path_factory.mktemp("clone")
    shutil.copy(ROOT / "Makefile", clone)
    shutil.copytree(state, clone / ".hil")
    (clone / "reports").mkdir()
    (clone / "reports/report.html").write_text("old")
    keys = {path.name: path.read_bytes() for path in (clone / ".hil/cloud").glob("server_*")}
    assert len(keys) == 4
    subprocess.run(["make", "clean"], cwd=clone, check=True, timeout=60)
    assert not (clone / "reports/report.html").exists()
    assert {path.name: path.read_bytes() for path in (clone / ".hil/cloud").glob("server_*")} == keys
    assert (clone / ".hil/cloud/cloud.sqlite").is_file()
