"""``hil cloud``: the Device Cloud on its own, with a log to read while it runs, and what belongs to it."""

from __future__ import annotations

import signal
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType

import click

from hil.cli import cloud_devices
from hil.cli.options import Refusal
from hil.clock import Clock
from hil.clock.client import clock_of_run, socket_of_run
from hil.clock.server import leading
from hil.clock.types import CLOCK_VARIABLE
from hil.cloud.config import CloudConfig
from hil.cloud.state.users import Users
from hil.cloud.sync.facade import DeviceCloud
from hil.errors import HilError, UsageError

_TOKEN_CLIENT = "hil cloud"
_A_WHILE = 3600.0  # seconds; waiting ends with the next line or a signal


@click.group(name="cloud", invoke_without_command=True)
@cloud_devices.state_option
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="The address to listen on; 0.0.0.0 for boards on the network.",
)
@click.option("--tcp-port", default=5683, show_default=True, help="For Photon, P1, Core. 0: any free port.")
@click.option(
    "--udp-port", default=5684, show_default=True, help="For all other boards, which know no other."
)
@click.option("--http-port", default=8080, show_default=True, help="For particle-cli and the like.")
@click.option("--no-http", is_flag=True, help="Leave the HTTP API out.")
@click.option("--owner", default="hil", show_default=True, help="Whose the devices are unless told.")
@click.option("--password", help="Lets OWNER log in with it; default: only the token printed below.")
@click.option(
    "--trust-first-use", is_flag=True, help="Take an unknown device with the first key it shows as its own."
)
@click.option(
    "--clock",
    "movable_clock",
    is_flag=True,
    help="Run on a clock that can be moved (hil clock advance 2d); default: follow HIL_CLOCK, else the real time.",
)
@click.option("--quiet", is_flag=True, help="No log.")
@click.pass_context
def command(
    context: click.Context,
    state: Path,
    host: str,
    tcp_port: int,
    udp_port: int,
    http_port: int,
    no_http: bool,
    owner: str,
    password: str | None,
    trust_first_use: bool,
    movable_clock: bool,
    quiet: bool,
) -> None:
    """Run the Device Cloud until Ctrl-C.

    Devices keep their sessions over a restart with the same --state. A device connects when the cloud has its
    public key (or with --trust-first-use) and when it has the cloud's address and public key:

    \b
      particle keys save argon                            its key, board in DFU mode
      hil cloud register DEVICE_ID --key argon.der        the cloud knows it, "hil" owns it
      hil cloud keys --address 192.0.2.7                  what to run to write the cloud's key
      particle keys server .hil/cloud/server_ec.pub.der --host 192.0.2.7 --port 5684
      hil cloud --host 0.0.0.0                            and switch the board on
    """
    if context.invoked_subcommand is not None:
        # `hil cloud --state X devices` is as good as `hil cloud devices --state X`.
        context.default_map = {name: {"state": state} for name in command.commands}
        return
    config = CloudConfig(
        state_dir=state,
        host=host,
        tcp_port=tcp_port,
        udp_port=udp_port,
        http_port=None if no_http else http_port,
        owner=owner,
        first_use_trust=trust_first_use,
    )
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        with _clock(state, movable_clock) as clock, DeviceCloud(config, clock) as cloud:
            if password is not None:
                _let_in(cloud.core.users, owner, password)
            with cloud_devices.announced(state, cloud.url, _token(cloud.core.users, owner), owner):
                click.echo(_banner(cloud, owner))
                if movable_clock:
                    click.echo(f"{'clock':<11}export {CLOCK_VARIABLE}={_clock_socket(state)}")
                _follow(cloud, quiet=quiet)
    except HilError as error:
        raise Refusal(error) from error
    except KeyboardInterrupt:
        click.echo(f"\nthe cloud has stopped; its state stays in {state}")
    finally:
        signal.signal(signal.SIGTERM, before)


for _subcommand in (cloud_devices.register, cloud_devices.devices, cloud_devices.keys):
    command.add_command(_subcommand)


def _clock_socket(state: Path) -> Path:
    return state.absolute() / "clock.sock"


def _clock(state: Path, movable: bool) -> AbstractContextManager[Clock]:
    """The cloud's clock: one that it leads itself, or that of the run."""
    if not movable:
        return clock_of_run("cloud")
    if (leader := socket_of_run()) is not None:
        raise UsageError(
            "the cloud cannot both lead a clock and follow one",
            found=f"--clock and {CLOCK_VARIABLE}={leader}",
            hint=f"leave out --clock, or unset {CLOCK_VARIABLE}",
        )
    state.mkdir(parents=True, exist_ok=True)
    return leading(_clock_socket(state))


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _let_in(users: Users, owner: str, password: str) -> None:
    users.ensure(owner)
    users.set_password(owner, password)


def _banner(cloud: DeviceCloud, owner: str) -> str:
    keys, config = cloud.server_keys, cloud.config
    rows = {
        "TCP boards": f"{config.host}:{cloud.tcp_port}   server key {keys.rsa_public_path}",
        "UDP boards": f"{config.host}:{cloud.udp_port}   server key {keys.ec_public_path}",
        "HTTP API": cloud.url or "off",
        "token": f"{_token(cloud.core.users, owner)}   (user {owner})",
        "devices": ", ".join(f"{view.name} ({view.id})" for view in cloud.devices())
        or "none registered yet: hil cloud register --help",
    }
    return "\n".join(f"{name:<11}{value}" for name, value in rows.items())


def _token(users: Users, owner: str) -> str:
    """The same token at every start: scripts hold on to it."""
    kept = (token for token in users.tokens_of(users.ensure(owner)) if token.client == _TOKEN_CLIENT)
    found = next(kept, None) or users.issue_token(owner, 0, client=_TOKEN_CLIENT)
    return found.token


def _follow(cloud: DeviceCloud, *, quiet: bool) -> None:
    """Print log lines as they come, until a signal."""
    journal = cloud.core.services.log.journal
    position = 0
    while True:
        journal.wait(lambda _line: True, position=position, within=_A_WHILE)
        lines = journal.since(position)
        position += len(lines)
        for line in lines:
            if not quiet:
                click.echo(str(line))
