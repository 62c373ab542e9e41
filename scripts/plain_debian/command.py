"""The command line of ``scripts/plain-debian``."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.plain_debian import cache
from scripts.plain_debian.common import CANNOT_RUN, REPOSITORY, CannotRun, call, say
from scripts.plain_debian.inside import SOURCE, Plan

_DESCRIPTION = f"""\
Run a command, such as `make hil`, on a plain Debian 12 that has nothing but git, python3, make and
ca-certificates: what passes there passes on a machine just installed.

The Debian is made by debootstrap once and kept; each run writes to a layer of its own above it. The commit
that is checked out here is cloned to {SOURCE} there. How to reach the network and the package registries
(resolver, proxies, certificates, settings of apt, pip and npm) is taken over from this machine.
"""
_EPILOG = f"""\
examples:
  sudo scripts/plain-debian -- make hil             as root, from nothing
  sudo scripts/plain-debian --user -- make test     as an ordinary user, who is told one apt-get line
  sudo scripts/plain-debian -- bash                 look around

exit status: the command's; 2 for a wrong command line; {CANNOT_RUN} where no plain Debian can be had (no root,
no network, mounts or namespaces refused), with the reason in one line.

The cache is $XDG_CACHE_HOME/hil/plain-debian (${cache.VARIABLE} names another folder): the Debian, downloads
of earlier runs, and a folder for each run that goes on.
"""


@dataclass(frozen=True, slots=True)
class Options:
    as_user: bool
    fresh: bool
    keep: bool
    command: list[str]


def main(arguments: Sequence[str]) -> int:
    """The exit status."""
    options = parse(arguments)
    signal.signal(signal.SIGTERM, _leave)
    try:
        check_machine()
        return start(options)
    except CannotRun as error:
        say(str(error))
        return CANNOT_RUN
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def parse(arguments: Sequence[str]) -> Options:
    """The options; ends the process with status 2 when they are wrong."""
    parser = argparse.ArgumentParser(
        prog="scripts/plain-debian",
        usage="%(prog)s [--user] [--fresh] [--keep] -- COMMAND ...",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--user",
        action="store_true",
        help="run the command as an ordinary user; root only types the apt-get line that it asks for",
    )
    parser.add_argument("--fresh", action="store_true", help="make the Debian anew first")
    parser.add_argument("--keep", action="store_true", help="keep what the run wrote, and say where it is")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND", help="what to run there")
    found = parser.parse_args(arguments)
    command = found.command[1:] if found.command[:1] == ["--"] else found.command
    if not command:
        parser.error("expected a command to run, found none; such as: scripts/plain-debian -- make hil")
    return Options(found.user, found.fresh, found.keep, command)


def check_machine() -> None:
    """Raises ``CannotRun`` where no plain Debian can be had."""
    if os.geteuid() != 0:
        again = f"sudo scripts/plain-debian {' '.join(sys.argv[1:])}"
        raise CannotRun(f"needs root for debootstrap and mounts, found an ordinary user; type: {again}")
    if shutil.which("apt-get") is None and shutil.which("debootstrap") is None:
        raise CannotRun(
            "needs debootstrap, and there is no apt-get to install it; install debootstrap by hand"
        )
    call(*cache.ISOLATED, "true", why="mount and pid namespaces are refused here")


def start(options: Options) -> int:
    """The status of the command, after everything that it left has gone."""
    store = cache.Cache(cache.folder())
    for run in cache.sweep(store):
        say(f"removed what a killed run left: {run}")
    with (
        cache.base(store, fresh=options.fresh) as base,
        cache.downloads(store) as downloads,
        cache.run_folder(store, keep=options.keep) as run,
    ):
        shared = str(downloads) if downloads else None
        plan = Plan(str(base), str(run), shared, options.as_user, options.command)
        who = "an ordinary user" if options.as_user else "root"
        say(f"running as {who} on a plain Debian {cache.SUITE}: {' '.join(options.command)}")
        began = time.monotonic()
        status = _isolated(plan)
        say(f"status {status} after {time.monotonic() - began:.0f} s: {' '.join(options.command)}")
        if options.keep:
            say(f"what the run wrote is in {_written(run)}; rm -r {run} when done")
    return status


def _isolated(plan: Plan) -> int:
    inside = [sys.executable, "-m", "scripts.plain_debian.inside", plan.text()]
    process = subprocess.Popen([*cache.ISOLATED, *inside], cwd=REPOSITORY)
    try:
        while True:
            try:
                return _shell_status(process.wait())
            except KeyboardInterrupt:
                say("interrupted; waiting for the command to end")  # it has the signal as well
    finally:
        process.kill()
        process.wait()


def _written(run: Path) -> Path:
    copied = not any((run / "upper").iterdir())
    return run / ("root" if copied else "upper")


def _shell_status(status: int) -> int:
    return status if status >= 0 else 128 - status


def _leave(number: int, _frame: object) -> None:
    sys.exit(128 + number)
