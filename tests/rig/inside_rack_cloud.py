"""Runs inside a virtual rack, started by ``test_rack_in_virtual_rack.py``: boards and their place at the cloud.

The application is ``blinker``, which is not the probe: what passes here assumes nothing about the application.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from hil.cloud.config import CloudConfig
from hil.cloud.sync.facade import DeviceCloud
from hil.errors import CloudError, FlashError, RigError
from hil.netlab.client import Network
from hil.rig.cloud_board import CloudBoard
from hil.rig.images import FirmwareStore, Image
from hil.rig.pool import BoardPool
from hil.rig.rigfile import RigFile, SlotTable, find_rig, load_rig
from hil.usb.discovery import UsbWatcher

PLATFORMS = ("photon", "electron", "argon", "boron")
NOT_BEFORE_IT_OPENS = (
    1.5  # s that a wait behind a closed path lasts; these boards are back within half a second
)
Restart = Callable[[CloudBoard], object]


def _listen_for_a_moment(board: CloudBoard) -> None:
    board.enter_listening()
    board.leave_listening()


RESTARTS: dict[str, Restart] = {
    "reset": lambda board: board.reset(),
    "listening": _listen_for_a_moment,
}


@pytest.fixture(scope="session")
def rig() -> RigFile:
    return load_rig(find_rig())


@pytest.fixture(scope="session")
def cloud(rig: RigFile, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeviceCloud]:
    state = tmp_path_factory.mktemp("cloud")
    with DeviceCloud(CloudConfig(state_dir=state, host=rig.cloud.host)) as made:
        yield made


@pytest.fixture(scope="session")
def pool(rig: RigFile, cloud: DeviceCloud) -> Iterator[BoardPool]:
    def make(slot: SlotTable, watcher: UsbWatcher) -> CloudBoard:
        return CloudBoard(slot, watcher, cloud, rig)

    with UsbWatcher() as watcher:
        made = BoardPool(rig, watcher, make)
        yield made
        made.close()


@pytest.fixture(scope="session")
def images(rig: RigFile) -> FirmwareStore:
    return FirmwareStore(rig.firmware.directory)


@pytest.fixture
def network() -> Iterator[Network]:
    with Network.connect(os.environ["HIL_NETWORK"]) as lease:
        yield lease


def leased(pool: BoardPool, platform: str) -> Iterator[CloudBoard]:
    with pool.lease(platform) as board:
        assert isinstance(board, CloudBoard)
        yield board


@pytest.fixture(params=PLATFORMS)
def board(request: pytest.FixtureRequest, pool: BoardPool) -> Iterator[CloudBoard]:
    yield from leased(pool, request.param)


@pytest.fixture(params=["photon", "argon"], ids=["TCP", "DTLS"])
def either(request: pytest.FixtureRequest, pool: BoardPool) -> Iterator[CloudBoard]:
    yield from leased(pool, request.param)


@pytest.fixture
def argon(pool: BoardPool) -> Iterator[CloudBoard]:
    yield from leased(pool, "argon")


@pytest.fixture
def electron(pool: BoardPool) -> Iterator[CloudBoard]:
    yield from leased(pool, "electron")


def blinker(images: FirmwareStore, board: CloudBoard) -> Image:
    return images.image("blinker", "1", board.platform)


def test_any_application_is_flashed_once_and_online(
    board: CloudBoard, cloud: DeviceCloud, images: FirmwareStore
) -> None:
    image = blinker(images, board)
    board.make_ready(image)
    flashes = board.flashes
    assert cloud.call(board, "blink", "3") == 3
    assert board.runs(image)
    assert not board.runs(images.image("probe", "1", board.platform))
    board.reset_hard()
    board.make_ready(image)
    assert cloud.call(board, "blink", "4") == 4
    assert board.flashes == flashes


def test_an_application_that_answers_nobody_is_recognized_by_its_hash(
    board: CloudBoard, cloud: DeviceCloud, images: FirmwareStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = blinker(images, board)
    monkeypatch.setattr(board.probe, "info", lambda: pytest.fail("nobody asks the application"))
    own = Image(image.path, image.module, image.app, image.version, build=None)
    board.make_ready(own)
    flashes, starts = board.flashes, cloud.device(board).last_handshake
    for _ in range(2):
        board.make_ready(own)
    assert (board.flashes, cloud.device(board).last_handshake) == (flashes, starts), "it was left alone"


def test_whatever_it_has_is_fine(either: CloudBoard, cloud: DeviceCloud, images: FirmwareStore) -> None:
    either.make_ready(blinker(images, either))
    flashes = either.flashes
    either.reset()
    either.make_ready(None)
    assert either.is_online()
    assert either.flashes == flashes
    assert cloud.call(either, "blink", "1") == 1


def test_the_rig_tells_the_cloud_of_a_keep_alive(either: CloudBoard, cloud: DeviceCloud) -> None:
    """Issue 6, point 9."""
    told = []
    for seconds in (60.0, None):
        either.slot = either.slot.model_copy(update={"keep_alive": seconds})
        either.join()
        told.append(cloud.device(either).keep_alive)
    assert told == [60.0, None]


def test_away_and_back_need_no_probe_and_subscribing_says_that_it_does(
    either: CloudBoard, cloud: DeviceCloud, images: FirmwareStore
) -> None:
    either.make_ready(blinker(images, either))
    either.disconnect()
    assert not cloud.online(either)
    either.connect()
    either.restart()
    assert cloud.call(either, "blink", "2") == 2
    with pytest.raises(
        RigError, match=rf"board.subscribe.. needs the probe, and {either.name} .* runs another"
    ):
        either.subscribe("garden")


def test_a_board_that_a_test_sent_away_is_brought_back_without_a_reset(
    either: CloudBoard, images: FirmwareStore
) -> None:
    either.make_ready(blinker(images, either))
    either.disconnect()
    enumeration = either.enumeration
    either.make_ready(None)
    assert either.is_online()
    assert either.enumeration == enumeration


@pytest.mark.parametrize("restart", RESTARTS)
def test_a_session_from_before_is_not_accepted_however_the_board_left(
    argon: CloudBoard, cloud: DeviceCloud, images: FirmwareStore, network: Network, restart: str
) -> None:
    image = blinker(images, argon)
    argon.make_ready(image)
    network.block()
    RESTARTS[restart](argon)
    assert not argon.is_online()
    with pytest.raises(AssertionError, match="its device log ends"):
        cloud.wait_online(argon, within=NOT_BEFORE_IT_OPENS)
    network.clear()
    cloud.wait_online(argon, within=60)
    argon.make_ready(image)


def test_a_session_from_before_a_hard_reset_is_not_accepted_on_any_board(
    board: CloudBoard, cloud: DeviceCloud, images: FirmwareStore, network: Network
) -> None:
    board.make_ready(blinker(images, board))
    network.block()
    board.reset_hard()
    with pytest.raises(AssertionError, match="is still in the session that it had before"):
        cloud.wait_online(board, within=NOT_BEFORE_IT_OPENS)
    network.clear()
    cloud.wait_online(board, within=60)


def test_a_board_that_cannot_reach_the_cloud_is_named_with_what_was_seen(
    argon: CloudBoard, images: FirmwareStore, network: Network
) -> None:
    argon.make_ready(blinker(images, argon))
    network.block()
    argon.reset_hard()
    with pytest.raises(CloudError) as caught:
        argon.come_online(within=1, application="blinker@1")
    assert "argon-1 (argon at USB port 1-3) does not come online with blinker@1" in str(caught.value)
    assert "Device OS says: connecting" in str(caught.value)
    assert "serial log" in str(caught.value)
    assert "cloud log" in str(caught.value)
    assert "is the path to the cloud open" in str(caught.value)


def test_an_application_that_never_connects_is_named_with_what_to_do(
    either: CloudBoard, images: FirmwareStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A team's own application in ``SYSTEM_MODE(SEMI_AUTOMATIC)``, which says nothing of itself to anybody."""
    monkeypatch.setattr("hil.rig.cloud_board.ONLINE_WITHIN", 1.0)
    with pytest.raises(CloudError, match=rf"{either.name} .* does not come online with idle@1") as caught:
        either.make_ready(images.image("idle", "1", either.platform))
    assert "Device OS says: disconnected" in str(caught.value)
    assert "does the application call Particle.connect()?" in str(caught.value)
    either.make_ready(images.image("idle", "1", either.platform), online=False)


@pytest.mark.parametrize("which", ["argon", "electron"])
def test_a_board_with_a_corrupt_application_is_left_healthy(
    request: pytest.FixtureRequest, images: FirmwareStore, which: str
) -> None:
    board: CloudBoard = request.getfixturevalue(which)
    probe = images.image("probe", "1", board.platform)
    broken = bytearray(images.image("probe", "2", board.platform).data)
    broken[len(broken) // 2] ^= 1
    with pytest.raises(FlashError, match="does not run what was written"):
        board.flash_unchecked(bytes(broken), probe.module.start)
    assert board.leave_healthy(probe)
    assert board.runs(probe)
    assert not board.leave_healthy(probe)


def test_a_sound_application_stays_and_the_board_comes_back_to_normal_mode(
    argon: CloudBoard, images: FirmwareStore
) -> None:
    argon.make_ready(blinker(images, argon))
    argon.enter_dfu()
    assert not argon.leave_healthy(images.image("probe", "1", argon.platform))
    assert argon.runs(blinker(images, argon))


def test_an_image_of_another_board_that_was_written_is_replaced(
    electron: CloudBoard, images: FirmwareStore
) -> None:
    probe = images.image("probe", "1", electron.platform)
    other = images.image("probe", "2", load_rig(find_rig()).slots[2].board_platform)
    with pytest.raises(FlashError, match="does not run what was written"):
        electron.flash_unchecked(other.data, probe.module.start)
    assert electron.leave_healthy(probe)
    assert electron.runs(probe)
