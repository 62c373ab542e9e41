"""``hil cloud point``: a board on USB and this cloud learn each other's keys."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import click

from hil.cli.cloud_devices import state_option
from hil.cli.cloud_register import introduce
from hil.cli.options import one_message, rig_option
from hil.cloud.state.newcomers import Newcomer
from hil.cloud.state.serverkeys import ServerKeys
from hil.device.keys import ServerAddress
from hil.errors import UsageError
from hil.rig.pool import BoardPool
from hil.rig.rigfile import RigFile, SlotTable, load_rig
from hil.usb.discovery import UsbWatcher


@click.command()
@click.argument("slot")
@rig_option("The rig file that has SLOT.")
@click.option(
    "--address", help="This machine's address as the board sees it. Default: host of [cloud] in the rig."
)
@state_option
def point(slot: str, rig: Path, address: str | None, state: Path) -> None:
    """Have the board in SLOT dial this cloud: its key and address go into the board, the board's key to the cloud.

    Works while the cloud runs, too. The board restarts.

    \b
    Real boards:     hil cloud point argon-1 --rig rigs/mine.toml --address 192.0.2.7
    Virtual boards:  hil rack exec -- hil cloud point argon-1 --state .hil/play/cloud
    """
    with one_message():
        loaded = load_rig(rig)
        table = _slot(loaded, slot)
        host = address or loaded.cloud.host
        with UsbWatcher() as watcher, closing(BoardPool(loaded, watcher)) as pool:
            board = pool.acquire_slot(table.name)
            platform = board.platform
            where = ServerAddress(host, platform.transport.port)
            report = board.provision(ServerKeys.load_or_create(state), where)
            device_id = board.device_id
        introduce(state, [Newcomer(device_id, report.public_key, platform.id, table.name)])
    written = " and ".join(report.written) or "nothing, it had all"
    click.echo(f"{slot} ({device_id}) dials {host}; written: {written}")


def _slot(rig: RigFile, name: str) -> SlotTable:
    for slot in rig.slots:
        if slot.name == name:
            return slot
    raise UsageError(
        f"no slot {name} in rig {rig.name}", expected=", ".join(slot.name for slot in rig.slots), found=name
    )
