"""A running cloud without HTTP, and boards that know it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hil.cloud.config import CloudConfig, Timing
from hil.cloud.sync.facade import DeviceCloud
from tests.cloud.kits import KITS
from tests.cloud.scripted_board import ScriptedBoard

# Waits that only a failure uses up: a busy machine must not look like a silent device.
PATIENT = Timing(call=20.0, describe=20.0, update_ready=20.0)
# For tests that mean to see attempts run out.
HASTY = Timing(ack_timeout=0.25, ack_random_factor=1.0, call=5.0, update_ready=5.0)


def config(state: Path, **changes: object) -> CloudConfig:
    settings: dict[str, object] = {
        "state_dir": state,
        "tcp_port": 0,
        "udp_port": 0,
        "http_port": None,
        "timing": PATIENT,
    }
    return CloudConfig(**(settings | changes))  # type: ignore[arg-type]


@pytest.fixture
def timing(request: pytest.FixtureRequest) -> Timing:
    """The cloud's patience; another one as an indirect parameter."""
    chosen: Timing = getattr(request, "param", PATIENT)
    return chosen


hasty = pytest.mark.parametrize("timing", [HASTY], indirect=True, ids=["hasty"])


@pytest.fixture
def cloud(tmp_path: Path, timing: Timing) -> Iterator[DeviceCloud]:
    with DeviceCloud(config(tmp_path / "state", timing=timing)) as running:
        yield running


MakeBoard = Callable[..., ScriptedBoard]


@pytest.fixture
def boards(cloud: DeviceCloud) -> Iterator[MakeBoard]:
    """Makes boards that the cloud knows; all are switched off at the end."""
    made: list[ScriptedBoard] = []

    def make(name: str = "argon", device_id: str | None = None, *, owner: str = "hil") -> ScriptedBoard:
        board = ScriptedBoard(KITS[name], device_id)
        introduce(board, cloud, owner=owner)
        made.append(board)
        return board

    yield make
    for board in made:
        board.power_off()


def introduce(board: ScriptedBoard, cloud: DeviceCloud, *, owner: str = "hil") -> None:
    """Tell the cloud of the board, and the board of the cloud."""
    cloud.register(
        board.device_id, platform_id=board.kit.platform.id, public_key=board.public_key, owner=owner
    )
    dial(board, cloud)


def dial(board: ScriptedBoard, cloud: DeviceCloud) -> None:
    server = cloud.server_keys
    board.dial("127.0.0.1", cloud.tcp_port, cloud.udp_port, server.rsa_public_der, server.ec_public_der)


def bring_up(board: ScriptedBoard, cloud: DeviceCloud) -> ScriptedBoard:
    """Switch the board on, and wait until it has introduced itself."""
    mark = cloud.mark()
    board.power_on()
    cloud.wait_online(board, within=10, since=mark)
    cloud.events.expect("particle/device/updates/enabled", source=board, since=mark)
    return board
