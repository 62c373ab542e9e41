"""``hil doctor``: what is missing on this computer, one line each, with the command that mends it."""

from __future__ import annotations

import errno
import os
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import click

from hil.cli.options import rig_option, rig_was_named
from hil.report.page import find_allure
from hil.rig import checks
from hil.rig.doctorline import Check, Verdict
from hil.rig.permissions import udev_rules
from hil.rig.project import find_project
from hil.usb.sysfs import UsbBoard

_TMP_FIXES = {
    errno.EACCES: "sudo chmod 1777 /tmp",
    errno.EROFS: "sudo mount -o remount,rw /tmp",
    errno.ENOSPC: "df -h /tmp   # then make room",
}
_MARKS = {Verdict.OK: ("ok", "green"), Verdict.WARNING: ("warn", "yellow"), Verdict.MISSING: ("MISS", "red")}


@click.command(name="doctor")
@rig_option("The rig file.")
@click.pass_context
def command(context: click.Context, rig: Path) -> None:
    """Check what a rack needs on this computer: one line a thing, and below it the command that mends it.

    \b
    ok    it is there
    warn  something works less well without it, or only real boards need it
    MISS  required: the exit status is 1 while anything is missing, 2 when the rig file is wrong

    \b
    A bench of your own:  hil doctor --rig rigs/mine.toml   (its boards are required then)
    Inside a rack:        hil rack run -- hil doctor
    """
    results = examine(rig, required=rig_was_named(context))
    for check in results:
        click.echo(line(check))
    packages = checks.apt_line(results)
    if packages:
        click.echo(f"\nDebian packages, in one go:\n  {packages}")
    missing = sum(check.verdict is Verdict.MISSING for check in results)
    things = "1 required thing is" if missing == 1 else f"{missing} required things are"
    click.echo(f"\n{things} missing" if missing else "\neverything required is there")
    wrong_rig = any(check.name == checks.RIG_FILE and check.verdict is Verdict.MISSING for check in results)
    sys.exit(2 if wrong_rig else 1 if missing else 0)


def examine(rig_path: Path, *, required: bool = False) -> list[Check]:
    """All checks, in the order in which one would mend things.

    ``required``: the boards of the rig must be there, unless they dial the virtual rack's address.
    """
    rack = virtual_rack()  # first: it forks, which wants a process without threads
    watcher, trouble = checks.find_boards()
    try:
        boards = watcher.boards()
        rig_check, rig = checks.rig_file(rig_path)
        cloud = rig.cloud if rig is not None else None
        return [
            checks.python_packages(),
            *checks.programs(),
            checks.libusb(),
            _only_for_virtual_boards(fuse(), boards),
            _only_for_virtual_boards(rack, boards),
            *([trouble] if trouble else []),
            udev_rules(boards),
            checks.modem_manager(),
            checks.cloud_port("TCP", cloud.tcp_port if cloud else 5683),
            checks.cloud_port("UDP", cloud.udp_port if cloud else 5684),
            rig_check,
            *checks.hub_switches(rig),
            checks.boards_present(rig, watcher, required=required),
            allure(),
            *checks.test_programs(),
        ]
    finally:
        watcher.stop()


def fuse() -> Check:
    """``/dev/fuse``, which carries the virtual boards' USB nodes."""
    name, path = "/dev/fuse", "/dev/fuse"
    if not os.path.exists(path):
        found = "not there; the virtual rack needs it"
        fix = "sudo modprobe fuse   # in a container: start it with --device /dev/fuse"
        return Check(name, Verdict.MISSING, found, fix)
    if not os.access(path, os.R_OK | os.W_OK):
        found = "closed to you; the virtual rack needs it"
        return Check(name, Verdict.MISSING, found, "sudo chmod 0666 /dev/fuse")
    return Check(name, Verdict.OK, "open")


def virtual_rack() -> Check:
    """Whether the virtual rack can take its place: each step it needs is tried, in a process of its own."""
    name = "virtual rack"
    if _inside_a_rack():
        return Check(name, Verdict.OK, "this shell is inside one")
    if find_spec("hil.virtual") is None:
        return Check(name, Verdict.OK, "not part of this installation")
    from hil.virtual.launch.probe import probe

    try:
        steps = probe()
    except OSError as error:
        found = f"it cannot write in /tmp: {error.strerror}"
        return Check(name, Verdict.MISSING, found, _TMP_FIXES.get(error.errno or 0, "ls -ld /tmp; df /tmp"))
    failed = [each for each in steps if not each.ok]
    if failed:
        return Check(name, Verdict.MISSING, f"{failed[0].step}: {failed[0].found}", failed[0].hint)
    return Check(name, Verdict.OK, f"can start ({len(steps)} steps tried)")


def _inside_a_rack() -> bool:
    return bool(os.environ.get("HIL_RACK"))


def allure() -> Check:
    """Allure's command line, which turns results into a page; tests do without it."""
    path = find_allure(find_project().state("report"))
    if path is None:
        return Check(
            "allure", Verdict.WARNING, "not found; no HTML report without it", "hil report   # installs it"
        )
    return Check("allure", Verdict.OK, str(path))


def _only_for_virtual_boards(check: Check, boards: list[UsbBoard]) -> Check:
    """What only virtual boards need is no fault on a bench with real ones."""
    softer = check.verdict is Verdict.MISSING and bool(boards)
    return replace(check, verdict=Verdict.WARNING) if softer else check


def line(check: Check) -> str:
    """A check as the doctor prints it."""
    mark, colour = _MARKS[check.verdict]
    text = f"{click.style(f'{mark:<5}', fg=colour)} {check.name:<16} {check.found}"
    return f"{text}\n{'':<22} -> {check.fix}" if check.fix else text
