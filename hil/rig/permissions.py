"""Who may open boards and hubs, and what opens a closed one: a rule of udev, or a group for the user.

Each fix is the one that mends what was found: rules that are in force are not to be installed again, and a user who
is in no group is not helped by rules. USB fact sheet 1.5 and 9.2.
"""

from __future__ import annotations

import grp
import os
import pwd
import shlex
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hil import resources
from hil.rig.doctorline import Check, Verdict
from hil.rig.rigfile import RigFile, UhubctlTable
from hil.usb.access import closed_node
from hil.usb.sysfs import UsbBoard
from hil.usb.transport import usb_node

USB_GROUP, TTY_GROUP = "plugdev", "dialout"
RELOAD = "sudo udevadm control --reload && sudo udevadm trigger"
_OLD_RULES = "50-hil-particle.rules"  # sorted before the rules that it builds upon
_HUB_RULES = "/etc/udev/rules.d/66-hil-hub.rules"
_FOLDERS = (Path("/etc/udev/rules.d"), Path("/run/udev/rules.d"), Path("/usr/lib/udev/rules.d"))
_SYSFS = Path("/sys/bus/usb/devices")
_RULES = "udev rules"


@dataclass(frozen=True, slots=True)
class User:
    """Who runs this: ``groups`` are those of this login, ``members_of`` those that the next login will have."""

    name: str
    groups: frozenset[str]
    members_of: frozenset[str]

    @classmethod
    def current(cls) -> User:
        """The user of this process."""
        try:
            entry = pwd.getpwuid(os.getuid())
        except KeyError:
            return cls(str(os.getuid()), frozenset(), frozenset())
        in_database = os.getgrouplist(entry.pw_name, entry.pw_gid)
        return cls(entry.pw_name, _names({*os.getgroups(), os.getegid()}), _names(in_database))


@dataclass(frozen=True, slots=True)
class Node:
    """A closed node as ``stat`` shows it."""

    path: Path
    group: str
    mode: int

    @classmethod
    def at(cls, path: Path) -> Node:
        """The node at ``path``."""
        status = path.stat()
        return cls(path, next(iter(_names([status.st_gid])), str(status.st_gid)), status.st_mode)

    @property
    def for_its_group(self) -> bool:
        """Whether a group other than root's may read and write it."""
        return self.group != "root" and self.mode & 0o060 == 0o060


def opening(node: Node, user: User, rules: str, *, installed: bool) -> tuple[str, str]:
    """Why a node is closed to ``user`` and the command that opens it; ``rules`` is the one that installs the rules."""
    if not node.for_its_group:
        what = f"{node.path} is {stat.filemode(node.mode)} of group {node.group}"
        return (f"{what}; the rules are there and not in force", RELOAD) if installed else (what, rules)
    if node.group in user.groups:
        return f"{node.path} is refused to group {node.group}, which you are in", f"ls -l {node.path}"
    if node.group in user.members_of:
        found = f"{node.path} is for group {node.group}: you are in it, but not in this login"
        return found, f"log out and in again, or for this shell: newgrp {node.group}"
    found = f"{node.path} is for group {node.group}, and {user.name} is not in it"
    return found, f"{_join([node.group], user.name)}   # then log out and in again"


def udev_rules(boards: Sequence[UsbBoard], user: User | None = None) -> Check:
    """Whether real boards may be opened: by rules and groups, or at least now."""
    user = user or User.current()
    texts = rule_texts()
    installed = any("2b04" in text for text in texts.values())
    for board in boards:
        closed = closed_node(board)
        if closed is not None:
            found, fix = opening(Node.at(closed), user, install_rules(), installed=installed)
            return Check(_RULES, Verdict.MISSING, f"the {board.platform.name} is closed to you: {found}", fix)
    if _OLD_RULES in texts:
        found = f"{_OLD_RULES} sorts too early: serial ports stay without their names"
        return Check(
            _RULES, Verdict.WARNING, found, f"sudo rm -f /etc/udev/rules.d/{_OLD_RULES} && {install_rules()}"
        )
    if not installed:
        found = "none, but the boards that are there may be opened"
        return (
            Check(_RULES, Verdict.OK, found)
            if boards
            else Check(
                _RULES, Verdict.WARNING, "none for Particle boards; real boards need them", install_rules()
            )
        )
    return _groups(user, boards)


def _groups(user: User, boards: Sequence[UsbBoard]) -> Check:
    """The rules are there: is the user among those whom they open boards to?"""
    found = "rules for Particle boards are installed"
    known = _names(entry.gr_gid for entry in grp.getgrall())
    strangers = [group for group in (USB_GROUP, TTY_GROUP) if group not in known]
    if strangers:
        makes = " && ".join(f"sudo groupadd --system {group}" for group in strangers)
        what = f"they name group {' and '.join(strangers)}, which this computer does not have"
        return Check(_RULES, Verdict.WARNING, what, f"{makes} && {RELOAD}")
    lacking = [group for group in (USB_GROUP, TTY_GROUP) if group not in user.members_of]
    if not lacking or boards or os.getuid() == 0:
        return Check(_RULES, Verdict.OK, found)
    without = f"{user.name} is not in group {' and '.join(lacking)}"
    what = f"{found}; {without}: boards open only to who sits at this computer"
    return Check(_RULES, Verdict.WARNING, what, f"{_join(lacking, user.name)}   # then log out and in again")


def hubs(rig: RigFile | None, user: User | None = None, sysfs: Path = _SYSFS) -> list[Check]:
    """Whether each hub that the rig file has switched is there and may be switched."""
    slots = rig.slots if rig is not None else ()
    names = sorted({slot.power.hub for slot in slots if isinstance(slot.power, UhubctlTable)})
    return [_hub(name, user or User.current(), sysfs) for name in names]


def _hub(name: str, user: User, sysfs: Path) -> Check:
    title = f"hub {name}"
    entry = sysfs / (name if "-" in name else f"usb{name}")
    try:
        bus, address, vendor, product = (
            (entry / key).read_text().strip() for key in ("busnum", "devnum", "idVendor", "idProduct")
        )
        path = usb_node(int(bus), int(address))
        node = Node.at(path)
    except (OSError, ValueError):
        fix = "hil boards   # then correct `hub` in the rig file, or look at the hub's cable and power"
        return Check(title, Verdict.MISSING, "not on USB; the rig file has it switched", fix)
    if os.access(path, os.R_OK | os.W_OK):
        return Check(title, Verdict.OK, f"{path} may be opened")
    ids = f'ATTR{{idVendor}}=="{vendor}", ATTR{{idProduct}}=="{product}"'
    rule = f'SUBSYSTEM=="usb", {ids}, GROUP="{USB_GROUP}", MODE="0660"'
    install = f"echo {shlex.quote(rule)} | sudo tee -a {_HUB_RULES} && {RELOAD}"
    installed = any(rule in text for text in rule_texts().values())
    found, fix = opening(node, user, install, installed=installed)
    return Check(title, Verdict.MISSING, f"it cannot be switched: {found}", fix)


def install_rules() -> str:
    """The command that puts the rules for boards into force."""
    return f"sudo cp {shlex.quote(str(resources.udev_rules()))} /etc/udev/rules.d/ && {RELOAD}"


def rule_texts() -> dict[str, str]:
    """The text of each rule file of this computer, by file name."""
    found: dict[str, str] = {}
    for folder in reversed(
        _FOLDERS
    ):  # a file in the first folder stands for one of the same name in the others
        for path in sorted(folder.glob("*.rules")):
            if path.is_file():
                found[path.name] = path.read_text(errors="replace")
    return found


def _join(groups: Iterable[str], user: str) -> str:
    return f"sudo usermod -aG {','.join(groups)} {shlex.quote(user)}"


def _names(numbers: Iterable[int]) -> frozenset[str]:
    names = set()
    for number in numbers:
        try:
            names.add(grp.getgrgid(number).gr_name)
        except KeyError:
            continue
    return frozenset(names)
