"""A bench for one run: rig file, USB, boards, the Device Cloud and the network service, put together once."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hil.clock import Clock
from hil.cloud.config import CloudConfig
from hil.cloud.sync.facade import DeviceCloud
from hil.device.platforms import by_name
from hil.errors import HilError, UsageError
from hil.netlab.client import Network
from hil.rig.cloud_board import CloudBoard
from hil.rig.images import FirmwareStore, Image
from hil.rig.pool import BoardPool
from hil.rig.rigfile import Rig, SlotTable
from hil.usb.discovery import UsbWatcher

NETWORK_VARIABLE = "HIL_NETWORK"
PROBE = "probe"


class Bench:
    """Everything that the tests of one run share. Use as a context manager.

    ``clock`` is what the cloud follows, the real time unless told; USB and boards in hand are always on real time.
    """

    def __init__(self, rig: Rig, cloud_state: Path, clock: Clock | None = None) -> None:
        self.rig = rig
        self.cloud = DeviceCloud(
            CloudConfig(
                state_dir=cloud_state,
                host=rig.cloud.host,
                tcp_port=rig.cloud.tcp_port,
                udp_port=rig.cloud.udp_port,
                http_port=rig.cloud.http_port,
            ),
            clock,
        )
        self.firmware = FirmwareStore(rig.firmware.directory)
        self.watcher = UsbWatcher()
        self.pool = BoardPool(rig, self.watcher, make_board=self._make_board)
        self.boards: dict[str, CloudBoard] = {}
        self._troubles: dict[str, HilError] = {}

    def __enter__(self) -> Bench:
        self.cloud.start()
        self._started = self.cloud.operations.mark()
        try:
            self.watcher.start()
        except BaseException:
            self.cloud.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.close()
        self.watcher.stop()
        self.cloud.stop()

    def operations_spent(self) -> dict[str, int]:
        """Data Operations by kind since the bench was opened."""
        return self.cloud.operations.spent(since=self._started)

    def _make_board(self, slot: SlotTable, watcher: UsbWatcher) -> CloudBoard:
        return CloudBoard(slot, watcher, self.cloud, self.rig)

    def image(self, app: str = PROBE, version: int | str | None = 1, platform: str = "argon") -> Image:
        """A built image."""
        return self.firmware.image(app, None if version is None else str(version), by_name(platform))

    def prepare(self, platforms: Iterable[str]) -> None:
        """Lease a board of each platform and make them ready side by side; trouble waits for ``board()``."""
        leased = [board for platform in platforms if (board := self._lease(platform)) is not None]
        with ThreadPoolExecutor(max_workers=max(1, len(leased))) as workers:
            for board, trouble in zip(leased, workers.map(self._make_ready, leased), strict=True):
                if trouble is not None:
                    self._troubles[board.platform.name] = trouble

    def board(self, platform: str) -> CloudBoard:
        """The board of ``platform`` that this run leased. Raises the trouble that kept it from being ready."""
        if platform not in self.boards and self._lease(platform) is None:
            raise self._troubles.pop(platform)
        if platform in self._troubles:
            raise self._troubles.pop(platform)
        return self.boards[platform]

    def connect_network(self) -> Network | None:
        """A lease on the network service; ``None`` on a bench without one."""
        table = self.rig.network
        if table.kind == "none":
            return None
        path = table.socket or os.environ.get(NETWORK_VARIABLE)
        if not path:
            raise UsageError(
                "no network service",
                expected=f"its socket in {NETWORK_VARIABLE}, or [network] socket in the rig file",
                hint="run inside the virtual rack (`hil rack run -- pytest suites`), or start `hil network serve`",
            )
        return Network.connect(path)

    def _lease(self, platform: str) -> CloudBoard | None:
        if platform in self.boards:
            return self.boards[platform]
        try:
            board = self.pool.acquire(platform)
        except HilError as error:
            self._troubles[platform] = error
            return None
        if not isinstance(board, CloudBoard):
            raise UsageError(f"{board} does not know a cloud")
        self.boards[platform] = board
        return board

    def _make_ready(self, board: CloudBoard) -> HilError | None:
        try:
            board.make_ready(self.image(platform=board.platform.name))
        except HilError as error:
            return error
        return None
