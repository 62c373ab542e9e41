"""``hil clock``: a clock that boards and cloud follow, shown and moved by hand."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import click

from hil.cli.options import one_message
from hil.clock.client import ClockClient, socket_of_run
from hil.clock.durations import parse_duration
from hil.clock.messages import Shown
from hil.clock.types import CLOCK_VARIABLE
from hil.errors import UsageError

Answer = TypeVar("Answer")
_socket = click.option(
    "--socket",
    "path",
    type=click.Path(path_type=Path),
    help=f"The clock's control socket; default: {CLOCK_VARIABLE}, which a rack on such a clock sets.",
)


@click.group(name="clock")
def command() -> None:
    """Move the clock of a virtual rack or a cloud that was started with --clock.

    \b
    hil rack run --clock -- bash     and in that shell:
    hil clock advance 23m            every ping, every timeout of these minutes happens now
    hil clock show
    """


@command.command()
@_socket
def show(path: Path | None) -> None:
    """Say what the clock shows and which processes follow it.

    Example: hil clock show
    """
    shown = _with_client(path, ClockClient.show)
    click.echo(_time(shown) + (", stands still" if shown.stands else ", at real pace"))
    for name in shown.followers:
        click.echo(f"followed by {name}")


@command.command()
@_socket
@click.argument("duration")
def advance(path: Path | None, duration: str) -> None:
    """Move the clock forward by DURATION: 90s, 15m, 2d, 1d12h.

    What is due on the way has happened when the command ends, in the order in which it was due.

    \b
    Examples: hil clock advance 23m
              hil clock advance 1d12h
    """

    def move(client: ClockClient) -> None:
        done = client.advance(seconds=parse_duration(duration))
        for lost in done.lost:
            click.echo(f"left behind: {lost}", err=True)
        click.echo(f"{_time(client.show())}, {done.fired} timers fired on the way")

    _with_client(path, move)


def _with_client(path: Path | None, action: Callable[[ClockClient], Answer]) -> Answer:
    """Do something with the clock that is named or set. What is wrong ends the command in words."""
    with one_message():
        path = path or socket_of_run()
        if path is None:
            raise UsageError(
                "which clock?",
                expected=f"its socket in {CLOCK_VARIABLE}, or --socket",
                hint="start one: `hil rack run --clock -- bash` or `hil cloud --clock`",
            )
        with ClockClient(path) as client:
            return action(client)


def _time(shown: Shown) -> str:
    return datetime.fromtimestamp(shown.time, UTC).isoformat(sep=" ", timespec="seconds")
