"""``hil boards``: what is on USB, which slot it is, and whether it can be had."""

from __future__ import annotations

from pathlib import Path

import click

from hil.cli.options import one_message, rig_option, was_typed
from hil.printable import printable
from hil.rig.here import in_rack, is_of_rack
from hil.rig.pool import BoardPool, SlotState, SlotStatus
from hil.rig.rigfile import RigFile, SlotTable, load_rig
from hil.usb.discovery import UsbWatcher
from hil.usb.refusal import refusal
from hil.usb.sysfs import UsbBoard

HEADER = ("SLOT", "PORT", "BOARD", "MODE", "DEVICE ID", "SERIAL PORT", "STATE")


@click.command(name="boards")
@rig_option("The rig file.")
@click.pass_context
def command(context: click.Context, rig: Path) -> None:
    """Show the boards on USB and the slots of the rig.

    \b
    SLOT   its name in the rig file; "-" for a board that no slot names
    PORT   USB bus and chain of ports: what a rig file names, and `dfu-util -p`
    MODE   normal (listening and safe mode too), dfu, or "-" when nothing is there
    STATE  free, in use (by whom), in quarantine (why), empty, or the wrong board

    Below the table: free boards that do not run the application they hold, and what they say of it.

    \b
    Real boards:     hil boards --rig rigs/mine.toml
    Virtual boards:  hil rack run -- hil boards
    """
    try:
        with one_message():
            loaded = load_rig(rig)
            with UsbWatcher() as watcher:
                click.echo(table(rows(watcher, loaded)))
                for line in complaints(watcher, loaded):
                    click.echo(line)
                if not watcher.boards():
                    given = rig if was_typed(context, "rig") else None
                    click.echo(f"\n{nothing_here(loaded, given)}")
    except OSError as error:
        raise click.ClickException(str(error)) from error


def nothing_here(rig: RigFile, given: Path | None) -> str:
    """Where there are boards. ``given``: the rig file that the command line names."""
    if is_of_rack(rig):
        return (
            f"the boards of rig {rig.name} are inside the virtual rack: {in_rack(('hil', 'boards'), given)}"
        )
    return (
        "no Particle board is on USB here: plug one in (`hil doctor` says what else it needs),\n"
        f"or look at virtual boards: {in_rack(('hil', 'boards'))}"
    )


def complaints(watcher: UsbWatcher, rig: RigFile) -> list[str]:
    """A line for each board that nobody uses and that does not run its application."""
    pool = BoardPool(rig, watcher)
    free = [(status.slot.name, status.usb) for status in pool.status() if status.state is SlotState.FREE]
    asked = [(name, refusal(usb)) for name, usb in free if usb is not None]
    return [
        f"\n{name} does not run its application: {printable(why)}" for name, why in asked if why is not None
    ]


def rows(watcher: UsbWatcher, rig: RigFile) -> list[tuple[str, ...]]:
    """One row for each slot of the rig, then one for each board that no slot names."""
    pool = BoardPool(rig, watcher)
    strangers = [_stranger(board, "no slot of the rig names this port") for board in pool.strangers()]
    return [_slot(status) for status in pool.status()] + strangers


def table(body: list[tuple[str, ...]]) -> str:
    """Rows under their header, in columns."""
    if not body:
        return "no boards on USB"
    body = [tuple(map(printable, row)) for row in body]
    widths = [max(len(row[column]) for row in (HEADER, *body)) for column in range(len(HEADER) - 1)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]).rstrip()
        for row in (HEADER, *body)
    )


def _slot(status: SlotStatus) -> tuple[str, ...]:
    slot, usb = status.slot, status.usb
    state = f"{status.state}: {status.why}" if status.why else str(status.state)
    if usb is None:
        return slot.name, slot.port, slot.kind, "-", slot.device_id or "-", "-", state
    if usb.platform != slot.board_platform:
        state = f"wrong board: the rig has a {slot.board_platform.display} here"
    elif slot.device_id and usb.device_id and usb.device_id != slot.device_id:
        state = f"wrong board: the rig has {slot.device_id} here"
    return slot.name, slot.port, *_face(usb, slot), state


def _stranger(board: UsbBoard, why: str) -> tuple[str, ...]:
    return "-", board.port, *_face(board), why


def _face(board: UsbBoard, slot: SlotTable | None = None) -> tuple[str, ...]:
    device_id = board.device_id or f"? (serial {board.serial!r})"
    # What USB cannot tell, such as an E Series from an Electron, the slot of such a board does.
    known = slot is not None and board.platform == slot.board_platform
    return (
        slot.kind if slot is not None and known else board.platform.name,
        str(board.mode),
        device_id,
        board.tty or "-",
    )
