"""``hil cloud``: the Device Cloud on its own, with a log to read while it runs, and what belongs to it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

import click

from hil.cli import cloud_devices, cloud_point, cloud_register
from hil.cli.livelog import Follower
from hil.cli.options import ASK, asked_password, one_message
from hil.cli.screen import Screen, facts_of, token_of
from hil.cli.until_signal import stopping
from hil.clock import Clock
from hil.clock.client import clock_of_run, socket_of_run
from hil.clock.server import leading
from hil.clock.types import CLOCK_VARIABLE
from hil.cloud.config import CloudConfig, OfflineStatus, Policy, Retention
from hil.cloud.state.trouble import keeping
from hil.cloud.sync.facade import DeviceCloud
from hil.errors import UsageError

_RETENTION = Retention()


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
@click.option(
    "--password",
    is_flag=False,
    flag_value=ASK,
    default=None,
    envvar="HIL_CLOUD_PASSWORD",
    show_envvar=True,
    help="Lets OWNER log in. Without a value it is asked for, or read from a pipe: others see command lines. "
    "Default: only the token printed below.",
)
@click.option(
    "--trust-first-use", is_flag=True, help="Take an unknown device with the first key it shows as its own."
)
@click.option(
    "--offline-status",
    type=click.Choice([str(status.value) for status in OfflineStatus]),
    default=str(Policy().offline_status.value),
    show_default=True,
    help="What the API answers about a device that is offline: 404, as Particle's documents say, "
    'makes particle-cli report "Function not found".',
)
@click.option(
    "--limits",
    is_flag=True,
    help="The real cloud's rate limits for this machine and the rack, too: 10 wrong passwords, 100 streams.",
)
@click.option(
    "--clock",
    "movable_clock",
    is_flag=True,
    help="Run on a clock that can be moved (hil clock advance 2d); default: follow HIL_CLOCK, else the real time.",
)
@click.option(
    "--keep-days",
    type=click.FloatRange(min=0, min_open=True),
    default=_RETENTION.days,
    show_default=True,
    help="How old events, log lines and single Data Operations may get on disk; sums of operations stay.",
)
@click.option(
    "--keep-events",
    type=click.IntRange(min=1),
    default=_RETENTION.events,
    show_default=True,
    help="How many events, and how many single Data Operations, may lie on disk.",
)
@click.option("--quiet", is_flag=True, help="No log.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for machines.")
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
    offline_status: str,
    limits: bool,
    movable_clock: bool,
    keep_days: float,
    keep_events: int,
    quiet: bool,
    as_json: bool,
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
    password = asked_password(owner) if password == ASK else password
    config = CloudConfig(
        state_dir=state,
        host=host,
        tcp_port=tcp_port,
        udp_port=udp_port,
        http_port=None if no_http else http_port,
        owner=owner,
        first_use_trust=trust_first_use,
        retention=Retention(days=keep_days, events=keep_events, operations=keep_events),
        policy=Policy(offline_status=OfflineStatus(int(offline_status))),
        limits=limits,
    )
    _run(config, state, password, Screen(as_json=as_json, quiet=quiet), movable_clock)


for _subcommand in (cloud_register.register, cloud_devices.devices, cloud_devices.keys, cloud_point.point):
    command.add_command(_subcommand)


def _run(config: CloudConfig, state: Path, password: str | None, screen: Screen, movable_clock: bool) -> None:
    follower = Follower()
    with one_message(), stopping(follower.stop):
        with _clock(state, movable_clock) as clock, DeviceCloud(config, clock) as cloud:
            users, owner = cloud.core.users, config.owner
            if password is not None:
                users.ensure(owner)
                users.set_password(owner, password)
            token = token_of(users, owner)
            with (
                cloud_devices.announced(state, cloud.url, token, owner),
                follower.listening(cloud.core.activity),
            ):
                screen.report("started", **facts_of(cloud, token))
                screen.say(_banner(cloud, token))
                if movable_clock:
                    screen.say([("clock", f"export {CLOCK_VARIABLE}={_clock_socket(state)}")])
                screen.follow(follower)
        screen.goodbye(f"the cloud has stopped; its state stays in {state}")


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
    with keeping(state):
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
    return leading(_clock_socket(state))


def _banner(cloud: DeviceCloud, token: str) -> list[tuple[str, str]]:
    keys, config = cloud.server_keys, cloud.config
    known = ", ".join(f"{view.name} ({view.id})" for view in cloud.devices())
    return [
        ("TCP boards", f"{config.host}:{cloud.tcp_port}   server key {keys.rsa_public_path}"),
        ("UDP boards", f"{config.host}:{cloud.udp_port}   server key {keys.ec_public_path}"),
        ("HTTP API", cloud.url or "off"),
        ("token", f"{token}   (user {config.owner})"),
        ("devices", known or "none registered yet: hil cloud register --help"),
    ]
