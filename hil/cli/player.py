"""The cloud of ``hil rack run --cloud``: runs inside the rack and serves on a socket that listens outside of it.

Its boards are brought in as a run does it: found on USB, given this cloud's keys over DFU, registered, waited for.
"""

from __future__ import annotations

import contextlib
import faulthandler
import queue
import socket
import threading
from collections.abc import Sequence
from pathlib import Path

import click

from hil.cli import cloud_devices
from hil.cli.livelog import Follower
from hil.cli.options import one_message
from hil.cli.screen import Screen, facts_of, token_of
from hil.cli.until_signal import stopping
from hil.clock.client import clock_of_run
from hil.cloud.config import CloudConfig
from hil.cloud.gateways.listening import listener
from hil.cloud.state.happenings import Elsewhere
from hil.cloud.sync.facade import DeviceCloud
from hil.errors import HilError
from hil.rig.cloud_board import CloudBoard
from hil.rig.pool import BoardPool
from hil.rig.rigfile import RigFile, load_rig
from hil.usb.discovery import UsbWatcher
from hil.virtual.launch import companion, dialling

URL_VARIABLE, TOKEN_VARIABLE = "HIL_CLOUD_URL", "HIL_CLOUD_TOKEN"
_ENDS_WITHIN = 20.0  # seconds
_GOODBYE = "the rack and its cloud have stopped; their state stays in {state}"


@click.command()
@click.option("--rig", type=click.Path(path_type=Path), required=True)
@click.option("--state", type=click.Path(path_type=Path), required=True)
@click.option("--http", type=int, required=True, help="A listening socket of the host's loopback.")
@click.option("--dials", type=int, required=True, help="Where the rack says which cloud a board dials.")
@click.option(companion.READY, type=int, help="Where to say that all is up, for a command beside.")
@click.option(
    "--log", type=click.Path(path_type=Path), help="Where the log goes when it is not for the terminal."
)
@click.option("--json", "as_json", is_flag=True)
def main(
    rig: Path, state: Path, http: int, dials: int, ready: int | None, log: Path | None, as_json: bool
) -> None:
    """Run the cloud of a rack. Started by `hil rack run --cloud`, with descriptors that it inherits."""
    follower = Follower()
    with contextlib.ExitStack() as stack, one_message():
        stream = stack.enter_context(log.open("w", buffering=1)) if log is not None else None
        screen = Screen(as_json=as_json, log=stream)
        stack.enter_context(stopping(lambda: _end(follower)))
        loaded = load_rig(rig)
        outside = stack.enter_context(socket.socket(fileno=http))
        with clock_of_run("cloud") as clock, DeviceCloud(_config(loaded, state, outside), clock) as cloud:
            token = token_of(cloud.core.users, cloud.config.owner)
            stack.enter_context(
                cloud_devices.announced(state / "cloud", cloud.url, token, cloud.config.owner)
            )
            if _bring_in(loaded, cloud, follower, screen):
                with follower.listening(cloud.core.activity):
                    _watch(socket.socket(fileno=dials), cloud, state)
                    screen.report("started", **facts_of(cloud, token))
                    screen.say(_banner(cloud, token, log))
                    if ready is not None:
                        companion.say_ready(ready, {URL_VARIABLE: cloud.url, TOKEN_VARIABLE: token})
                    screen.follow(follower)
        screen.goodbye(_GOODBYE.format(state=state))


def _end(follower: Follower) -> None:
    """Ctrl-C always works: a stop that hangs ends all the same, and says on stderr where each thread was."""
    faulthandler.dump_traceback_later(_ENDS_WITHIN, exit=True)
    follower.stop()


def _config(rig: RigFile, state: Path, outside: socket.socket) -> CloudConfig:
    """The rig's cloud; its API has one address, inside the rack and outside."""
    inside = listener("TCP", "127.0.0.1", outside.getsockname()[1], "http_port")
    return CloudConfig(
        state_dir=state / "cloud",
        host=rig.cloud.host,
        tcp_port=rig.cloud.tcp_port,
        udp_port=rig.cloud.udp_port,
        http_port=None,
        http_sockets=(outside, inside),
        policy=rig.cloud.policy,
    )


# Boards


def _bring_in(rig: RigFile, cloud: DeviceCloud, follower: Follower, screen: Screen) -> bool:
    """Have every board online; false when somebody wants to end first. A board that cannot come is said, and left."""
    with UsbWatcher() as watcher:
        pool = BoardPool(rig, watcher, lambda slot, usb: CloudBoard(slot, usb, cloud, rig))
        outcomes: queue.SimpleQueue[tuple[CloudBoard, HilError | None] | None] = queue.SimpleQueue()
        follower.on_stop = lambda: outcomes.put(None)
        try:
            boards = _leased(pool, rig, screen)
            for board in boards:
                threading.Thread(target=_come, args=(board, outcomes), daemon=True).start()
            for _ in boards:
                outcome = outcomes.get()
                if outcome is None:
                    return False
                board, trouble = outcome
                screen.say([("", str(trouble) if trouble else f"{board.name} is online")])
                screen.report("board", device=board.name, trouble=str(trouble) if trouble else None)
        finally:
            follower.on_stop = lambda: None
            pool.close()  # whoever plays may use them
    return not follower.stopped


def _leased(pool: BoardPool, rig: RigFile, screen: Screen) -> list[CloudBoard]:
    boards = []
    for slot in rig.slots:
        try:
            board = pool.acquire_slot(slot.name)
        except HilError as error:
            screen.say([("", str(error))])
            continue
        assert isinstance(board, CloudBoard), "the pool was told to make these"
        boards.append(board)
    return boards


def _come(board: CloudBoard, outcomes: queue.SimpleQueue[tuple[CloudBoard, HilError | None] | None]) -> None:
    try:
        board.make_ready(None)
    except HilError as error:
        outcomes.put((board, error))
    else:
        outcomes.put((board, None))


def _watch(notices: socket.socket, cloud: DeviceCloud, state: Path) -> None:
    """From now on say which board dials another cloud; what it dialled before it was brought in is over."""
    while dialling.receive(notices, wait=False):
        pass

    def watch() -> None:
        while (dialled := dialling.receive(notices)) is not None:
            if dialled.host != cloud.config.host:
                point = f"hil rack exec -- hil cloud point {dialled.slot} --state {state / 'cloud'}"
                with contextlib.suppress(HilError):  # the cloud is stopping
                    cloud.tell(dialled.device_id, Elsewhere(dialled.host, point))

    threading.Thread(target=watch, name="dials", daemon=True).start()


# What a person reads


def _banner(cloud: DeviceCloud, token: str, log: Path | None) -> list[tuple[str, str]]:
    url = cloud.url
    one = next((view.name for view in cloud.devices()), "DEVICE")
    rows = [
        ("", ""),
        ("HTTP API", url),
        ("token", token),
        ("curl", f"curl -H 'Authorization: Bearer {token}' {url}/v1/devices"),
        ("", f"{'':<11}curl -H 'Authorization: Bearer {token}' -d arg=D7 {url}/v1/devices/{one}/digitalread"),
        (
            "particle",
            f"particle config hil apiUrl {url} && particle config hil && particle login --token {token}",
        ),
        (
            "",
            f"{'':<11}particle list; particle call {one} digitalread D7; particle config particle (back again)",
        ),
        ("boards", "hil rack exec -- hil boards   (any program: lsusb, dfu-util -l, a shell)"),
    ]
    return [*rows, *_ending(log)]


def _ending(log: Path | None) -> Sequence[tuple[str, str]]:
    if log is not None:
        return [("log", str(log)), ("", "")]
    return [("", "Ctrl-C ends it"), ("", "")]


if __name__ == "__main__":
    main(prog_name="hil rack run")
