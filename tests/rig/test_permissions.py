"""Who may open boards and hubs, and whether the doctor's advice mends what is wrong (issue 6, point 15)."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from hil import resources
from hil.cli import doctor
from hil.rig import permissions
from hil.rig.doctorline import Verdict
from hil.rig.permissions import Node, User, hubs, opening, udev_rules
from hil.rig.rigfile import CloudTable, RigFile
from hil.usb import access
from hil.usb.transport import NoPermission
from tests.rig.memory_bench import slot
from tests.rig.udev_rules import Device, settle
from tests.usb.usb_fakes import argon

# What a distribution brings for a serial port: systemd, 50-udev-default.rules.in and 60-serial.rules.
SYSTEM = {
    "50-udev-default.rules": 'SUBSYSTEM=="tty", KERNEL=="tty[A-Z]*", GROUP="dialout"\n',
    "60-serial.rules": (
        'SUBSYSTEM=="tty", ENV{ID_PATH}="pci-0000:00:14.0-usb-0:1.4:1.0", ENV{ID_USB_INTERFACE_NUM}="00"\n'
    ),
}
INSTALL = "sudo cp the rules"
CLOSED = Node(Path("/dev/bus/usb/001/005"), "plugdev", stat.S_IFCHR | 0o660)
SOMEBODY = User("ann", frozenset({"ann"}), frozenset({"ann"}))


@pytest.fixture
def rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder of udev rules of this computer, empty."""
    monkeypatch.setattr(permissions, "_FOLDERS", (tmp_path,))
    return tmp_path


def ours() -> dict[str, str]:
    return {resources.udev_rules().name: resources.udev_rules().read_text()}


@pytest.mark.parametrize(
    ("product", "normal"),
    [("2b04/c00c", True), ("2b04/d00c", False), ("1d50/607d", True), ("1d50/607f", False)],
)
def test_6_15_rules_beside_those_of_the_system_open_boards_and_name_their_ports(
    product: str, normal: bool
) -> None:
    vendor, number = product.split("/")
    ids = {"idVendor": vendor, "idProduct": number}
    node = settle({**SYSTEM, **ours()}, Device("usb", "1-1.4", {"DEVTYPE": "usb_device"}, attributes=ids))
    assert (node.group, node.mode) == ("plugdev", "0660")
    port = settle({**SYSTEM, **ours()}, Device("tty", "ttyACM0", {}, parents=ids))
    assert port.group == "dialout", "a serial port's group is the system's, before and after a flash"
    assert port.links == (["particle/by-port/pci-0000:00:14.0-usb-0:1.4:1.0"] if normal else [])
    assert {node.properties["ID_MM_DEVICE_IGNORE"], port.properties["ID_MM_DEVICE_IGNORE"]} == {"1"}
    assert "uaccess" in node.tags
    assert resources.udev_rules().name < "73-seat-late.rules", "whoever sits there gets access after these"


def test_the_old_place_of_the_rules_is_why_ports_had_no_name() -> None:
    early = {"50-hil-particle.rules": resources.udev_rules().read_text()}
    port = settle(
        {**SYSTEM, **early}, Device("tty", "ttyACM0", {}, parents={"idVendor": "2b04", "idProduct": "c00c"})
    )
    assert port.links == []


@pytest.mark.parametrize(
    ("node", "user", "installed", "fix"),
    [
        (replace(CLOSED, group="root"), SOMEBODY, False, INSTALL),
        (
            replace(CLOSED, group="root"),
            SOMEBODY,
            True,
            "sudo udevadm control --reload && sudo udevadm trigger",
        ),
        (CLOSED, SOMEBODY, True, "sudo usermod -aG plugdev ann   # then log out and in again"),
        (CLOSED, SOMEBODY, False, "sudo usermod -aG plugdev ann   # then log out and in again"),
        (CLOSED, replace(SOMEBODY, members_of=frozenset({"plugdev"})), True, "log out and in again, or"),
    ],
)
def test_6_15_a_closed_board_gets_the_advice_that_mends_it(
    node: Node, user: User, installed: bool, fix: str
) -> None:
    found, advice = opening(node, user, INSTALL, installed=installed)
    assert advice.startswith(fix)
    assert str(node.path) in found


def test_6_15_a_user_in_no_group_is_not_told_to_install_rules_that_are_there(
    rules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in ours().items():
        (rules / name).write_text(text)
    monkeypatch.setattr(permissions, "closed_node", lambda _: CLOSED.path)
    monkeypatch.setattr(Node, "at", lambda _: CLOSED)
    check = udev_rules([argon()], SOMEBODY)
    assert check.verdict is Verdict.MISSING
    assert "is for group plugdev, and ann is not in it" in check.found
    assert check.fix.startswith("sudo usermod -aG plugdev ann")
    assert "sudo cp" not in doctor.line(check)


def test_rules_of_an_older_version_are_taken_away(rules: Path) -> None:
    (rules / "50-hil-particle.rules").write_text('ATTRS{idVendor}=="2b04"\n')
    check = udev_rules([], SOMEBODY)
    assert check.verdict is Verdict.WARNING
    assert check.fix.startswith("sudo rm -f /etc/udev/rules.d/50-hil-particle.rules && sudo cp ")


@pytest.mark.usefixtures("rules")
def test_the_doctor_installs_the_rules_that_travel_with_the_package() -> None:
    check = udev_rules([], SOMEBODY)
    assert str(resources.udev_rules()) in check.fix
    assert resources.udev_rules().is_absolute()
    assert str(resources.udev_rules()) in doctor.line(check)


def test_a_node_that_is_closed_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node, tty = tmp_path / "005", tmp_path / "ttyACM0"
    for path in (node, tty):
        path.touch()
    monkeypatch.setattr(access, "usb_node", lambda _bus, _address: node)
    monkeypatch.setattr(os, "access", lambda path, _mode: path != tty)
    board = replace(argon(), tty=str(tty))
    assert access.closed_node(board) == tty
    with pytest.raises(NoPermission, match="ttyACM0 may not be read and written"):
        access.check_access(board)


def bench_with_a_hub() -> RigFile:
    switched = slot("a", "1-1.1", "argon", "6.2.0", power={"kind": "uhubctl", "hub": "1-1", "port": 1})
    return RigFile(name="bench", cloud=CloudTable(host="127.0.0.1"), slots=(switched,))


@pytest.mark.usefixtures("rules")
def test_6_15_a_hub_whose_node_is_closed_is_not_ok(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub, node = tmp_path / "1-1", tmp_path / "002"
    hub.mkdir()
    node.touch()
    for key, value in {"busnum": "1", "devnum": "2", "idVendor": "2109", "idProduct": "2813"}.items():
        (hub / key).write_text(value + "\n")
    monkeypatch.setattr(permissions, "usb_node", lambda _bus, _address: node)
    (check,) = hubs(bench_with_a_hub(), SOMEBODY, tmp_path)
    assert check.verdict is Verdict.OK
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(Node, "at", lambda path: Node(path, "root", stat.S_IFCHR | 0o664))
    (check,) = hubs(bench_with_a_hub(), SOMEBODY, tmp_path)
    assert check.verdict is Verdict.MISSING
    device = Device("usb", "1-1", {}, attributes={"idVendor": "2109", "idProduct": "2813"})
    rule = check.fix.split("'")[1]
    assert settle({"66-hil-hub.rules": rule}, device).group == "plugdev"


def test_a_hub_that_is_not_there_is_named(tmp_path: Path) -> None:
    (check,) = hubs(bench_with_a_hub(), SOMEBODY, tmp_path)
    assert (check.name, check.verdict) == ("hub 1-1", Verdict.MISSING)
    assert "not on USB" in check.found
