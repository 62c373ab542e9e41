"""What a command that runs a cloud writes: how to reach it, then its live log, and a goodbye."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

import click

from hil.cli.livelog import Follower, renderer
from hil.cloud.state.happenings import Trouble
from hil.cloud.state.users import HARNESS_CLIENT, Users
from hil.cloud.sync.facade import DeviceCloud
from hil.printable import printable


@dataclass(frozen=True, slots=True)
class Screen:
    """Where it is written: what is said to people on stdout, the log in ``log``; with ``as_json`` one object a line."""

    as_json: bool = False
    quiet: bool = False
    log: TextIO | None = None

    def say(self, rows: Sequence[tuple[str, str]]) -> None:
        """A table of two columns; nothing for machines."""
        if not self.as_json:
            for name, value in rows:
                click.echo(f"{name:<11}{printable(value)}" if name else printable(value))

    def report(self, kind: str, **facts: Any) -> None:
        """A fact for machines, of the same shape as the lines of the log."""
        if self.as_json:
            click.echo(json.dumps({"kind": kind, **facts}))

    def follow(self, follower: Follower) -> None:
        """Write entries as they come, until there are no more. Of a cloud in trouble the quiet hear on stderr."""
        stream = self.log or sys.stdout
        render = renderer(stream, as_json=self.as_json)
        for entry in follower:
            # click would strip the colours that the renderer has decided on.
            if not self.quiet:
                click.echo(render(entry), file=stream, color=True)
            elif isinstance(entry.what, Trouble):
                click.echo(render(entry), file=sys.stderr, color=True)

    def goodbye(self, text: str) -> None:
        """The last line."""
        self.report("stopped")
        if not self.as_json:
            # What the terminal makes of Ctrl-C is on this line already.
            click.echo(f"\n{text}", file=self.log)


def token_of(users: Users, owner: str) -> str:
    """The same token at every start: scripts hold on to it."""
    kept = (token for token in users.tokens_of(users.ensure(owner)) if token.client == HARNESS_CLIENT)
    found = next(kept, None) or users.issue_token(owner, 0, client=HARNESS_CLIENT)
    return found.token


def facts_of(cloud: DeviceCloud, token: str) -> Mapping[str, Any]:
    """How to reach a cloud, for machines."""
    config = cloud.config
    return {
        "url": cloud.url or None,
        "token": token,
        "owner": config.owner,
        "tcp": f"{config.host}:{cloud.tcp_port}",
        "udp": f"{config.host}:{cloud.udp_port}",
    }
