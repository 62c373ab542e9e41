"""``hil network``: the privileged side of a bench's network, and a look at it."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from pathlib import Path

import click

from hil.cli.options import one_message
from hil.clock.client import clock_of_run
from hil.netlab.client import Network
from hil.netlab.privileges import has_network_admin
from hil.netlab.service import NetworkService

DEFAULT_SOCKET = Path("/run/hil/network.sock")
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@click.group(name="network")
def command() -> None:
    """Firewall and captures between boards and cloud.

    \b
    A bench of real boards needs it:  sudo hil network serve --boards 192.168.77.0/24
    The virtual rack has its own:     hil rack run -- hil network status
    """


@command.command()
@click.option(
    "--boards", required=True, metavar="NETWORK", help="The network that holds the boards' addresses."
)
@click.option("--interface", metavar="NAME", help="Where captures look; default: every interface but lo.")
@click.option("--socket", "path", type=click.Path(path_type=Path), default=DEFAULT_SOCKET, show_default=True)
def serve(boards: str, interface: str | None, path: Path) -> None:
    """Serve this machine's firewall to the user who called sudo, until interrupted.

    Rules apply to what this machine forwards, receives and sends. They end with the test that made them, and all
    of them with this command.

    \b
    Examples: sudo hil network serve --boards 192.168.77.0/24
              sudo hil network serve --boards 192.168.77.0/24 --interface eth1
    """
    if not has_network_admin():
        again = shlex.join(["sudo", *_own_command(), *sys.argv[1:]])
        raise click.ClickException(f"changing the firewall needs root; run\n  {again}")
    # Blocked before the service starts its threads, so that only sigwait sees them.
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        with one_message(), clock_of_run("network service") as clock:
            service = NetworkService.for_host(path, boards, interface=interface, owner=_owner(), clock=clock)
            try:
                click.echo(f"serving {boards}; for the tests:\n  export HIL_NETWORK={shlex.quote(str(path))}")
                signal.sigwait(_STOP_SIGNALS)
            finally:
                service.close()
    except OSError as error:
        raise click.ClickException(str(error)) from error
    click.echo("all rules are removed")


@command.command()
@click.option(
    "--socket",
    "path",
    type=click.Path(path_type=Path),
    default=DEFAULT_SOCKET,
    envvar="HIL_NETWORK",
    show_default=True,
    show_envvar=True,
)
def status(path: Path) -> None:
    """Say what serves the network and who else uses it.

    \b
    Examples: hil network status
              hil rack run -- hil network status
    """
    with one_message(), Network.connect(path) as network:
        facts = network.status()
    where = "the virtual rack's router" if facts["kind"] == "lab" else "this machine"
    others = facts["clients"] - 1
    click.echo(f"{path}: firewall of {where}, boards in {facts['boards']}")
    click.echo(f"{others} other client{'' if others == 1 else 's'} connected")


def _own_command() -> list[str]:
    return [os.path.abspath(sys.argv[0])]


def _owner() -> tuple[int, int]:
    """The uid and gid of the user behind sudo, or of this process."""
    uid, gid = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
    if uid.isdecimal() and gid.isdecimal():
        return int(uid), int(gid)
    return os.getuid(), os.getgid()
