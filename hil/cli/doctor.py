"""``hil doctor``: what is missing on this computer, one line each, with the command that mends it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import click

from hil.rack import checks
from hil.rack.checks import Check, Verdict
from hil.rack.rig import ENVIRONMENT, find_rig

_MARKS = {Verdict.OK: ("ok", "green"), Verdict.WARNING: ("warn", "yellow"), Verdict.MISSING: ("MISS", "red")}
_UNSHARE = ("unshare", "--user", "--map-root-user", "--mount", "--net", "--", "true")


@click.command(name="doctor")
@click.option(
    "--rig", type=click.Path(path_type=Path), help="The rig file; default: HIL_RIG, rigs/virtual.toml."
)
def command(rig: Path | None) -> None:
    """Check what a rack needs on this computer. Exit status 1 if something required is missing."""
    results = examine(rig)
    for check in results:
        click.echo(line(check))
    packages = checks.apt_line(results)
    if packages:
        click.echo(f"\nDebian packages, in one go:\n  {packages}")
    missing = sum(check.verdict is Verdict.MISSING for check in results)
    click.echo(f"\n{missing} required things are missing" if missing else "\neverything required is there")
    sys.exit(1 if missing else 0)


def examine(rig_path: Path | None = None) -> list[Check]:
    """All checks, in the order in which one would mend things."""
    watcher, trouble = checks.find_boards()
    try:
        boards = watcher.boards()
        rig_check, rig = checks.rig_file(find_rig(rig_path))
        named = rig_path is not None or ENVIRONMENT in os.environ
        cloud = rig.cloud if rig is not None else None
        return [
            checks.python_packages(),
            checks.program("dfu-util", "dfu-util", "it flashes boards"),
            checks.libusb(),
            checks.program("nft", "nftables", "it is the firewall"),
            checks.program("ip", "iproute2", "it lays the network"),
            fuse(required=not boards),
            user_namespaces(required=not boards),
            *([trouble] if trouble else []),
            checks.udev_rules(boards),
            checks.modem_manager(),
            checks.cloud_port(socket.SOCK_STREAM, cloud.tcp_port if cloud else 5683),
            checks.cloud_port(socket.SOCK_DGRAM, cloud.udp_port if cloud else 5684),
            rig_check,
            *checks.hub_switches(rig),
            checks.boards_present(rig, watcher, required=named),
            checks.allure(),
        ]
    finally:
        watcher.stop()


def fuse(*, required: bool) -> Check:
    """``/dev/fuse``, which carries the virtual boards' USB nodes."""
    name, path = "/dev/fuse", "/dev/fuse"
    verdict = Verdict.MISSING if required else Verdict.WARNING
    if not os.path.exists(path):
        found = "not there; the virtual rack needs it"
        return Check(
            name, verdict, found, "sudo modprobe fuse   # in a container: start it with --device /dev/fuse"
        )
    if not os.access(path, os.R_OK | os.W_OK):
        return Check(name, verdict, "closed to you; the virtual rack needs it", "sudo chmod 0666 /dev/fuse")
    return Check(name, Verdict.OK, "open")


def user_namespaces(*, required: bool) -> Check:
    """Whether an ordinary user may make the namespaces that the virtual rack lives in."""
    name = "user namespaces"
    if shutil.which(_UNSHARE[0]) is None:
        return Check(
            name, Verdict.WARNING, "cannot be tried", "sudo apt-get install util-linux", ("util-linux",)
        )
    done = subprocess.run(_UNSHARE, capture_output=True, text=True)
    if done.returncode == 0:
        return Check(name, Verdict.OK, "user, mount and network namespaces can be made")
    verdict = Verdict.MISSING if required else Verdict.WARNING
    return Check(
        name, verdict, f"{done.stderr.strip()}; the virtual rack needs them", _namespace_hint(done.stderr)
    )


def _namespace_hint(message: str) -> str:
    if find_spec("hil.virtual.trouble") is None:
        return ""
    from hil.virtual.trouble import hint_for

    number = 28 if "No space" in message else 1
    return hint_for("unshare", number)


def line(check: Check) -> str:
    """A check as the doctor prints it."""
    mark, colour = _MARKS[check.verdict]
    text = f"{click.style(f'{mark:<5}', fg=colour)} {check.name:<16} {check.found}"
    return f"{text}\n{'':<22} -> {check.fix}" if check.fix else text
