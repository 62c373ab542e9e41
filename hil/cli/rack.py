"""``hil rack``: boards without boards. A command run in a virtual rack sees them on USB, as ttys and on the network."""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path

import click

from hil.cli.options import one_message, rig_option, state_option
from hil.cli.play import Play
from hil.errors import UsageError
from hil.rig.project import find_project
from hil.rig.rigfile import RigFile, load_rig
from hil.virtual.app.library import ApplicationLibrary
from hil.virtual.launch import composition, images, launcher, powerstrip, rackbase, vexec
from hil.virtual.launch.limits import rack_limits

_COMMAND = {"ignore_unknown_options": True, "allow_interspersed_args": False}


@click.group(name="rack")
def command() -> None:
    """Virtual boards, for a command that cannot tell them from real ones.

    The boards of a rig file are on USB, as serial ports and on the network, for COMMAND alone; they are gone when it
    ends. What was flashed stays in the state directory.

    \b
    Run the suites:            hil rack run -- pytest suites
    Play with a cloud:         hil rack run --cloud
    Look around:               hil rack run -- bash
    From another terminal:     hil rack exec -- hil boards
    Unmodified tools:          hil rack run -- lsusb -v -d 2b04:
    """


@command.command(context_settings=_COMMAND)
@rig_option("The rig file: which boards the rack holds.")
@state_option("virtual", "Where the boards' flash memory is kept between runs.")
@click.option(
    "--mode",
    type=click.Choice(["normal", "dfu", "listening", "safe"]),
    default="normal",
    show_default=True,
    help="How the boards start, as with the MODE button held.",
)
@click.option(
    "--clock",
    "movable_clock",
    is_flag=True,
    help="Put boards, network and what COMMAND runs on a clock that can be moved: hil clock advance 2d.",
)
@click.option(
    "--fast",
    is_flag=True,
    help="Plugging takes no time: boards come and go within the call. Hides the races that 0.5 s to a serial port, "
    "0.75 s to DFU mode and one board after the other bring to light.",
)
@click.option(
    "--cloud", is_flag=True, help="With a Device Cloud for you to play with; all boards are online at it."
)
@click.option(
    "--http-port",
    type=click.IntRange(0, 65535),
    default=0,
    help="With --cloud: where its API answers on 127.0.0.1. Default: the first free one from 8080 on.",
)
@click.option("--json", "as_json", is_flag=True, help="With --cloud: its log as one JSON object a line.")
@click.argument("program", nargs=-1, type=click.UNPROCESSED, metavar="-- COMMAND...")
@click.pass_context
def run(
    context: click.Context,
    rig: Path,
    state: Path,
    mode: str,
    movable_clock: bool,
    fast: bool,
    cloud: bool,
    http_port: int,
    as_json: bool,
    program: tuple[str, ...],
) -> None:
    """Run COMMAND in a rack of its own; needs no root. Ends with the command's exit status.

    With --cloud and no COMMAND the rack stays until Ctrl-C: its API, for curl and particle-cli, is on this machine's
    loopback, and the state is apart from that of test runs.

    Boards come and go as behind a real kernel: not at once, those of one hub one after the other, and a serial port
    that a program still holds open comes back under another name. --fast leaves out the waiting.

    \b
    Examples: hil rack run --cloud
              hil rack run -- pytest suites
              hil rack run --fast -- lsusb
              hil rack run --mode dfu -- dfu-util -l
              hil rack run -- bash
    """
    with one_message():
        launcher.refuse_inside()
        loaded = load_rig(rig, rack_limits())
        if not cloud and (http_port or as_json):
            raise click.UsageError("--http-port and --json are for a rack with --cloud")
        if cloud:
            if context.get_parameter_source("state") is click.core.ParameterSource.DEFAULT:
                state = find_project().state("play")
            play = Play(loaded, state.absolute(), mode, http_port, as_json, movable_clock, fast)
            _prepare(loaded, play.boards)
            status = play.run(program)
        elif program:
            _prepare(loaded, state)
            compose = composition.board_rack(
                loaded, state.absolute(), mode, movable_clock=movable_clock, fast=fast
            )
            status = launcher.run(program, compose)
        else:
            raise click.UsageError("which command? (or --cloud, to play with the boards)")
    sys.exit(status)


def _prepare(rig: RigFile, state: Path) -> None:
    """Directories and images, while errors can still be said to whoever can mend them."""
    try:
        _build(rig)
        state.mkdir(parents=True, exist_ok=True)
        _hold(state)
    except BlockingIOError:
        raise UsageError(
            f"another rack keeps its boards' memory in {state}",
            hint="say --state DIRECTORY for a second rack",
        ) from None
    except OSError as error:
        raise UsageError(
            f"cannot write {error.filename}",
            found=str(error.strerror),
            hint="run from a directory of your own, or say --state",
        ) from error


def _build(rig: RigFile) -> list[Path]:
    """The images of every application that has a twin, for every virtual board."""
    targets = [(board.platform, board.device_os) for board in rig.boards]
    return images.build_images(rig.firmware.directory, ApplicationLibrary(rig.applications), targets)


def _hold(state: Path) -> None:
    """Locks ``state`` for this process and the rack it forks; both running on one flash would ruin it."""
    descriptor = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


@command.command(name="exec", context_settings=_COMMAND)
@click.option("--latest", is_flag=True, help="Join the rack that was started last.")
@click.argument("program", nargs=-1, required=True, type=click.UNPROCESSED, metavar="[PID] -- COMMAND...")
def execute(latest: bool, program: tuple[str, ...]) -> None:
    """Run COMMAND in a rack that is running already, from another terminal.

    PID is a rack's number as `hil rack list` shows it; without it and without --latest there must be exactly one.
    Inside a rack, COMMAND runs in that one.

    \b
    Examples: hil rack exec -- lsusb
              hil rack exec 4711 -- bash
    """
    pid = None
    if not latest and program[0].isdigit():
        pid, program = int(program[0]), program[1:]
        program = program[1:] if program[:1] == ("--",) else program
    if not program:
        raise click.UsageError("which command?")
    base = vexec.inside() if pid is None and not latest else None
    launcher.join(base or _choose(pid, latest), program)


@command.command(name="list")
def list_racks() -> None:
    """List this user's running racks: the number that `hil rack exec` takes, and where each keeps its files.

    Example:  hil rack list
    """
    for rack in rackbase.running():
        click.echo(f"{rack.pid}\t{rack.base}")


def _choose(pid: int | None, latest: bool) -> Path:
    racks = rackbase.running()
    if pid is not None:
        racks = [rack for rack in racks if rack.pid == pid]
    if not racks:
        raise click.ClickException(
            "no such rack is running" if pid else "no rack is running: see `hil rack run`"
        )
    if len(racks) > 1 and not latest:
        listed = ", ".join(str(rack.pid) for rack in racks)
        raise click.ClickException(f"several racks are running: name one ({listed}) or say --latest")
    return racks[-1].base


@command.command(name="power")
@click.argument("action", type=click.Choice(powerstrip.ACTIONS))
@click.argument("port")
def power(action: str, port: str) -> None:
    """Inside a rack: plug the board at USB port PORT in (on), unplug it (off) or press its RESET button.

    Example: hil rack power off 1-3
    """
    with one_message():
        powerstrip.switch(action, port)


@command.command(name="images")
@rig_option("The rig file: where images go.")
def build_images(rig: Path) -> None:
    """Build the firmware images that virtual boards run, and say where they are. `hil rack run` does so by itself.

    Example:  hil rack images
    """
    with one_message():
        for path in _build(load_rig(rig, rack_limits())):
            click.echo(str(path))
