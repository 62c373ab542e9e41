"""What this computer needs to drive a rack, each as one line with the command that mends it (``hil doctor``).

The same probes that the harness itself uses: a check that passes here does not fail in a test. USB fact sheet 1.5.
"""

from __future__ import annotations

import errno
import re
import socket
from importlib import metadata
from pathlib import Path

from hil import ports
from hil.errors import RigError, UsageError
from hil.rig.doctorline import Check, Verdict
from hil.rig.here import is_of_rack
from hil.rig.permissions import hubs, install_rules, rule_texts
from hil.rig.pool import BoardPool, SlotState
from hil.rig.programs import find_program
from hil.rig.rigfile import RigFile, load_rig
from hil.usb.discovery import UsbWatcher

RIG_FILE = "rig file"


def python_packages() -> Check:
    """The packages that ``hil`` itself says it needs."""
    name = "Python packages"
    required = [each for each in metadata.requires("hil") or [] if "extra ==" not in each]
    missing = []
    for requirement in required:
        package = re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]
        try:
            metadata.version(package)
        except metadata.PackageNotFoundError:
            missing.append(package)
    if missing:
        return Check(name, Verdict.MISSING, f"not installed: {', '.join(missing)}", "scripts/setup test")
    return Check(name, Verdict.OK, f"all {len(required)}")


def program(name: str, package: str, purpose: str, *, required: bool = True) -> Check:
    """Whether a program of Debian package ``package`` is there."""
    path = find_program(name)
    if path is not None:
        return Check(name, Verdict.OK, path)
    verdict = Verdict.MISSING if required else Verdict.WARNING
    return Check(name, verdict, f"not found; {purpose}", f"sudo apt-get install {package}", (package,))


def programs() -> list[Check]:
    """The programs that a rack is driven with, and those that people look at it with."""
    return [
        program("dfu-util", "dfu-util", "it flashes boards"),
        program("nft", "nftables", "it is the firewall"),
        program("ip", "iproute2", "it lays the network"),
        program("lsusb", "usbutils", "it shows what is on USB", required=False),
        program("udevadm", "udev", "it puts the rules for real boards into force", required=False),
    ]


def test_programs() -> list[Check]:
    """What the harness's own tests use besides."""
    only = "only `make test` needs it"
    wanted = {"curl": "curl", "g++": "g++", "mosquitto": "mosquitto", "node": "nodejs", "npm": "npm"}
    return [program(name, package, only, required=False) for name, package in wanted.items()]


def libusb() -> Check:
    """Whether pyusb finds its C library."""
    import usb.backend.libusb1

    if usb.backend.libusb1.get_backend() is None:
        fix = "sudo apt-get install libusb-1.0-0"
        return Check("libusb", Verdict.MISSING, "libusb-1.0 not found", fix, ("libusb-1.0-0",))
    return Check("libusb", Verdict.OK, "libusb-1.0")


def modem_manager() -> Check:
    """ModemManager types into serial ports unless a rule tells it not to."""
    name = "ModemManager"
    if not any(_comm(process) == name for process in Path("/proc").glob("[0-9]*")):
        return Check(name, Verdict.OK, "not running")
    if any("2b04" in text and "ID_MM_DEVICE_IGNORE" in text for text in rule_texts().values()):
        return Check(name, Verdict.OK, "running, told to leave Particle boards alone")
    found = "running, and it types into boards in listening mode"
    return Check(name, Verdict.WARNING, found, install_rules())


def cloud_port(protocol: ports.Protocol, port: int) -> Check:
    """Whether the Device Cloud can listen on a port."""
    kind = socket.SOCK_STREAM if protocol == "TCP" else socket.SOCK_DGRAM
    name = f"{protocol} port {port}"
    with socket.socket(socket.AF_INET, kind) as probe:
        if kind is socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return Check(name, Verdict.MISSING, str(error))
            holder = ports.holder(protocol, port)
            found = f"in use by {holder or 'a process that cannot be seen from here'}"
            look = f"sudo ss -lnp{protocol[0].lower()} 'sport = :{port}'   # who has it; end that"
            end = f"kill {holder.pid}   # or whatever ends it well" if holder and holder.pid else look
            return Check(name, Verdict.MISSING, found, end)
    return Check(name, Verdict.OK, "free")


def rig_file(path: Path) -> tuple[Check, RigFile | None]:
    """Whether the rig file is valid, and the rig."""
    try:
        rig = load_rig(path)
    except UsageError as error:
        mistakes = "".join(f"\n{'':<22} {line.strip()}" for line in error.found.splitlines() if line.strip())
        return Check(
            "rig file", Verdict.MISSING, error.what + mistakes, error.hint or f"correct {path}"
        ), None
    return Check(RIG_FILE, Verdict.OK, f"{path}: {len(rig.slots)} slots"), rig


def hub_switches(rig: RigFile | None) -> list[Check]:
    """``uhubctl`` and the hubs, where the rig has hubs that switch."""
    found = hubs(rig)
    return [program("uhubctl", "uhubctl", "the rig file has hubs that switch"), *found] if found else []


def boards_present(rig: RigFile | None, watcher: UsbWatcher, *, required: bool) -> Check:
    """Whether the boards of the rig are on USB and can be had."""
    name = "boards"
    verdict = Verdict.MISSING if required else Verdict.WARNING
    if rig is None:
        return Check(name, Verdict.WARNING, f"{len(watcher.boards())} on USB, no rig to compare with")
    status = BoardPool(rig, watcher).status()
    wrong = [f"{each.slot.name}: {each.why}" for each in status if each.state is not SlotState.FREE]
    if not wrong:
        return Check(name, Verdict.OK, f"all {len(status)} of rig {rig.name}")
    if not watcher.boards() and (not required or is_of_rack(rig)):
        return Check(
            name, Verdict.OK, f"none on USB; those of rig {rig.name} are inside `hil rack run -- ...`"
        )
    return Check(name, verdict, "; ".join(wrong), "hil boards   # look at cables, power and the rig file")


def find_boards() -> tuple[UsbWatcher, Check | None]:
    """A watcher after its scan; a check instead of an exception when USB cannot be looked at."""
    watcher = UsbWatcher()
    try:
        watcher.start()
    except (OSError, RigError) as error:
        return watcher, Check("USB", Verdict.MISSING, f"cannot listen to udev: {error}", "", ("udev",))
    return watcher, None


def apt_line(checks: list[Check]) -> str:
    """One command for all missing Debian packages; empty when there are none."""
    packages = sorted({package for check in checks for package in check.packages})
    if not packages:
        return ""
    return f"sudo apt-get update && sudo apt-get install -y --no-install-recommends {' '.join(packages)}"


def _comm(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return ""
