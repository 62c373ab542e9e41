"""Whether the rig of a run is here at all, asked before its first test: one answer instead of one for each test."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from hil import ports, resources
from hil.errors import UsageError
from hil.rig.project import shown
from hil.rig.rigfile import RigFile
from hil.rig.tables import NETWORK_VARIABLE


def refuse_elsewhere(rig: RigFile, command: Sequence[str], given: Path | None = None) -> None:
    """Raises ``UsageError`` when the cloud of ``rig`` has no address of this machine to listen on.

    No test could have a board then: boards dial that address. ``command`` is what was typed (``pytest``, ``suites``)
    and ``given`` the rig file that it named; where the rig is one of the virtual rack the error repeats the command the
    way it works.
    """
    host = rig.cloud.host
    if ports.is_ours(host):
        return
    what = f"rig {rig.name} is not here: its cloud listens on {host}, which is no address of this machine"
    bench = (
        f"host of [cloud] in {rig.file or 'the rig file'} to be this machine's address in the boards' network"
    )
    own = ", ".join(ports.own_addresses())
    if not is_of_rack(rig):
        raise UsageError(what, expected=bench, found=own)
    rack = f"run it inside the virtual rack: {in_rack(command, given)}"
    if rig.file == resources.virtual_rig().resolve():
        raise UsageError(what, hint=rack)
    raise UsageError(
        what, expected=f"on a bench, {bench}", found=own, hint=f"if it has virtual boards, {rack}"
    )


def is_of_rack(rig: RigFile) -> bool:
    """Whether this is a rig that comes to be when a virtual rack starts, and none has been started around this process.

    Its cloud listens in a network that is not this machine's, and whoever starts the rack says where its network
    service is.
    """
    table = rig.network
    awaits_service = table.kind == "service" and not table.socket and not os.environ.get(NETWORK_VARIABLE)
    return awaits_service and not ports.is_ours(rig.cloud.host)


def in_rack(command: Sequence[str], given: Path | None = None) -> str:
    """The shell's line that runs ``command`` in a virtual rack with the boards of rig file ``given``."""
    named = ("--rig", str(given)) if given is not None else ()
    return f"{hil_command()} {shlex.join(('rack', 'run', *named, '--', *command))}"


def hil_command() -> str:
    """How ``hil`` is called from this shell: by name, else as the program beside this Python."""
    beside = Path(sys.executable).with_name("hil")
    if shutil.which("hil") or not beside.exists():
        return "hil"
    return shlex.quote(shown(beside))
