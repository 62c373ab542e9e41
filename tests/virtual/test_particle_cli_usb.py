"""particle-cli as it is published, at virtual boards on USB: what it prints is what real boards make it print.

The golden strings are those of USB fact sheet 4.8. Issue 6, point 12.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hil.device.modules import ModuleFunction, build
from hil.device.platforms import by_name
from hil.virtual.hardware.machine import Machine
from tests.system.racks import BOARDS, Site, environment, new_site
from tests.virtual import inside_particle_cli
from tests.virtual.inside_particle_cli import CLI

IDS = {board.platform.name: board.device_id for board in BOARDS}
RELEASES = {board.platform.name: board.device_os for board in BOARDS}
Said = dict[str, list[tuple[int, str]]]


def visit(site: Site, threads: dict[str, list[list[str]]]) -> Said:
    """Run the commands of each thread in a rack; what they said."""
    assert shutil.which("node"), "node is needed: scripts/setup test installs it"
    assert CLI.exists(), "particle-cli is missing: scripts/setup test installs it"
    home = site.root / "home"
    (home / ".particle").mkdir(parents=True)
    # Nobody answers there: a name that the cloud would know is "<unknown>".
    (home / ".particle/particle.config.json").write_text(json.dumps({"apiUrl": "http://127.0.0.1:9"}))
    command = site.rack(sys.executable, inside_particle_cli.__file__, json.dumps(threads))
    run = subprocess.run(
        command,
        env=environment(HOME=str(home), PARTICLE_DISABLE_UPDATE="1"),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return {name: [(status, text) for status, text in said] for name, said in json.loads(run.stdout).items()}


def machine(site: Site, name: str) -> Machine:
    """The board as it lies in the rack's state: for what is printed on its label."""
    return Machine(by_name(name), RELEASES[name], IDS[name], site.root / "elsewhere" / name)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return new_site(tmp_path_factory.mktemp("particle-cli"))


@pytest.fixture(scope="module")
def said(site: Site) -> Said:
    """Each board in normal mode, then in listening mode; at last a Photon's application in the Electron."""
    threads = {
        name: [
            ["serial", "identify", "--port", f"{{tty}}{device_id}"],
            ["serial", "mac", "--port", f"{{tty}}{device_id}"],
            ["usb", "start-listening", device_id],
            ["serial", "identify", "--port", f"{{tty}}{device_id}"],
        ]
        for name, device_id in IDS.items()
    }
    photon = by_name("photon").user_part.start
    foreign = site.root / "photon.bin"
    foreign.write_bytes(build(6, ModuleFunction.USER_PART, 1, 6, photon, b"HIL-APP:probe@1\n", ()))
    electron = by_name("electron").user_part.start
    threads["electron"] += [
        ["serial", "inspect", "--port", f"{{tty}}{IDS['electron']}"],
        ["usb", "dfu", IDS["electron"]],
        ["dfu-util", "-d", "2b04:d00a", "-a", "0", "-s", f"{electron:#x}:leave", "-D", str(foreign)],
        ["usb", "stop-listening", IDS["electron"]],
        ["serial", "inspect", "--port", f"{{tty}}{IDS['electron']}"],
    ]
    return visit(site, threads)


def identity(name: str) -> str:
    return f"Your device id is {IDS[name]}"


def release(name: str) -> str:
    return f"Your system firmware version is {RELEASES[name]}"


@pytest.mark.parametrize("name", ["photon", "argon"])
def test_identify_a_wifi_board_in_any_mode(said: Said, name: str) -> None:
    expected = (0, f"{identity(name)}\n{release(name)}")
    assert (said[name][0], said[name][3]) == (expected, expected)


@pytest.mark.parametrize("name", ["electron", "boron"])
def test_identify_a_cellular_board_only_while_it_listens(said: Said, site: Site, name: str) -> None:
    """Before Device OS 6 the tool asks on the serial port, which is the application's in normal mode."""
    assert said[name][0] == (
        1,
        "Could not identify device: Could not get device info, ensure the device is in listening mode: "
        "Serial timed out",
    )
    board = machine(site, name)
    radio = f"Your IMEI is {board.imei}\nYour ICCID is {board.iccid}"
    assert said[name][3] == (0, f"{identity(name)}\n{radio}\n{release(name)}")


def test_mac_addresses(said: Said, site: Site) -> None:
    not_supported = (1, "Could not identify device: Could not get MAC address: Not supported")
    assert said["photon"][1] == not_supported
    assert said["electron"][1] == not_supported
    assert said["boron"][1] == (0, "Your device does not have a MAC address")
    address = machine(site, "argon").mac_address
    assert said["argon"][1] == (0, f"Your device MAC address is {address}\nInterface is Wifi")


def test_an_electron_does_not_list_a_photon_s_application(said: Said) -> None:
    before, after = said["electron"][4][1], said["electron"][8][1]
    assert "User part module #1 - version 6" in before
    assert "System part module #3 - version 3302" in after
    assert "User part" not in after
    assert "FAIL" not in after


def test_wifi_commands_of_an_argon(tmp_path: Path) -> None:
    """The tool takes the only board on the bus: it cannot ask which one without a terminal."""
    site = new_site(tmp_path)
    head, *slots = site.rig.read_text().split("[[slots]]")
    site.rig.write_text("[[slots]]".join([head, *(slot for slot in slots if '"argon"' in slot)]))
    for ssid in ("lab", "hil-rack"):
        described = {"network": ssid, "security": "WPA2_AES", "password": "password"}
        (tmp_path / f"{ssid}.json").write_text(json.dumps(described))
    commands = [
        "list",
        f"add --file {tmp_path}/lab.json",
        "list",
        f"join --file {tmp_path}/hil-rack.json",
        "current",
        "join --ssid lab",
        "remove --ssid hil-rack",
        "list",
        "remove --ssid hil-rack",
        "clear",
        "list",
    ]
    said = visit(site, {"argon": [["wifi", *command.split()] for command in commands]})["argon"]
    listed = "List of Wi-Fi networks on the device:\n"
    current = "- hil-rack (WPA2_PSK) - current network"
    removed = (
        0,
        "Wi-Fi network hil-rack removed from device's list successfully.\n"
        "To disconnect from the network, run particle usb reset.",
    )
    assert said[0] == (0, listed + current)
    assert said[2] == (0, f"{listed}{current}\n- lab (WPA2_PSK)")
    assert said[3][0] == 0
    assert said[4][1].startswith("Current Wi-Fi network:\n- SSID: hil-rack\n")
    assert said[5] == (
        1,
        "Unable to join a known Wi-Fi network 'lab': Not found\n"
        "If you are using a hidden network, please add the hidden network credentials first using "
        "'particle wifi add'.",
    )
    assert (said[6], said[8]) == (removed, removed)
    assert said[7] == (0, f"{listed}- lab (WPA2_PSK)")
    assert said[9] == (0, "Wi-Fi networks cleared successfully.")
    assert said[10] == (0, f"{listed}No Wi-Fi networks found.")
