"""The rig of one run: rig file, USB, boards, the Device Cloud and the network service, put together once."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from hil.clock import Clock
from hil.cloud.config import CloudConfig
from hil.cloud.sync.facade import DeviceCloud
from hil.device.platforms import by_name
from hil.errors import BoardNotFound, HilError, RigError, UsageError
from hil.netlab.client import Network
from hil.rig import locks
from hil.rig.cloud_board import CloudBoard
from hil.rig.images import FirmwareStore, Image
from hil.rig.modes import BoardVanished
from hil.rig.pool import BoardPool
from hil.rig.recorder import Recorder
from hil.rig.rigfile import RigFile, SlotTable
from hil.rig.sidebyside import side_by_side
from hil.rig.switchfailed import SwitchFailed
from hil.rig.tables import NETWORK_VARIABLE
from hil.usb import scratch
from hil.usb.discovery import UsbWatcher
from hil.usb.transport import NoPermission, TransferError


class Rig:
    """Everything that the tests of one run share. Use as a context manager.

    ``images``: firmware images by name, as option ``--firmware`` has them (``greenhouse@2=target/argon.bin``).
    ``clock`` is what the cloud follows, the real time unless told; USB and boards in hand are always on real time.
    """

    def __init__(
        self, file: RigFile, cloud_state: Path, images: Sequence[str] = (), clock: Clock | None = None
    ) -> None:
        self.file = file
        self.cloud = DeviceCloud(
            CloudConfig(
                state_dir=cloud_state,
                host=file.cloud.host,
                tcp_port=file.cloud.tcp_port,
                udp_port=file.cloud.udp_port,
                http_port=file.cloud.http_port,
                policy=file.cloud.policy,
            ),
            clock,
        )
        self.firmware = FirmwareStore.of(file, images)
        self.watcher = UsbWatcher()
        self.pool = BoardPool(file, self.watcher, make_board=self._make_board)
        self.boards: dict[str, CloudBoard] = {}
        self._taken: Counter[str] = Counter()
        self._good: dict[str, Image] = {}
        self._troubles: dict[str, HilError] = {}
        self._recorder: Recorder | None = None

    def __enter__(self) -> Rig:
        locks.sweep()
        scratch.sweep()
        self.cloud.start()
        self._started = self.cloud.operations.mark()
        try:
            self.watcher.start()
        except BaseException:
            self.cloud.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with ExitStack() as ending:
            ending.callback(self.cloud.stop)
            ending.callback(self.watcher.stop)
            ending.callback(self.pool.close)
            if self._recorder is not None:
                ending.callback(self._recorder.close)

    def operations_spent(self) -> dict[str, int]:
        """Data Operations by kind since the rig was opened."""
        return self.cloud.operations.spent(since=self._started)

    def image(self, app: str, version: int | str | None = None, platform: str = "argon") -> Image:
        """A built image of ``app`` for ``platform``; without a version the newest."""
        return self.firmware.image(app, None if version is None else str(version), by_name(platform))

    def prepare(self, wanted: Mapping[str, Image | None]) -> None:
        """Lease the boards of these slots and make them ready side by side; trouble waits for :meth:`take`.

        Boards without power get it first, those that no test wants as well. Raises ``BoardNotFound`` when not one of
        the slots has a board: then no test can run.
        """
        self.pool.switch_on(wanted.keys())
        leased = [board for slot in wanted if (board := self._lease(slot)) is not None]
        if wanted and not leased:
            raise _joined([self._troubles[slot] for slot in wanted], 1, list(wanted))
        images = [wanted[board.name] for board in leased]
        for board, trouble in zip(leased, side_by_side(self._try, leased, images), strict=True):
            if trouble is not None:
                self._troubles[board.name] = trouble

    def take(self, slots: Sequence[str], count: int = 1) -> list[CloudBoard]:
        """``count`` healthy boards of ``slots``, those that had the fewest tests first.

        Raises the trouble of the first that cannot be had, when there are too few; the next call tries it again.
        """
        found: list[CloudBoard] = []
        troubles: list[HilError] = []
        for slot in sorted(slots, key=lambda name: self._taken[name]):
            if len(found) == count:
                break
            board = self._lease(slot)
            trouble = self._troubles.pop(slot, None)
            if board is not None:
                trouble = self.pool.quarantined(board) or trouble
            if board is None or trouble is not None:
                troubles.append(trouble or BoardNotFound(f"slot {slot} cannot be had"))
            else:
                found.append(board)
        if len(found) < count:
            raise _joined(troubles, count, slots)
        self._taken.update(board.name for board in found)
        return found

    def make_ready(self, board: CloudBoard, image: Image | None, *, online: bool = True) -> None:
        """Make a board ready; one that fails as a piece of equipment gets a reset, then its power off and on.

        One that fails test after test is set aside, so that it costs its tests no more time; one that vanished at once.
        """
        quarantined = self.pool.quarantined(board)
        if quarantined is not None:
            raise quarantined
        try:
            self._climb(board, image, online)
        except BoardVanished as error:
            self.pool.quarantine(board, f"{error.what}: {error.found}")
            raise
        except HilError as error:
            self.pool.report(board, rig_failure=error.what)
            raise
        if image is not None:
            self._good[board.name] = image
        self.pool.report(board)

    def _climb(self, board: CloudBoard, image: Image | None, online: bool) -> None:
        """Rung by rung, until the board is ready.

        Raises what went wrong with the board last; a switch that fails as well is no more than how it came to that.
        """
        rungs: list[Callable[[], object]] = [lambda: None, board.recover]
        last = [board.power_cycle] if board.power.available else []
        rungs += last
        trouble: RigError | None = None
        while rungs:
            try:
                rungs.pop(0)()
                board.make_ready(image, online=online)
                return
            except (BoardVanished, NoPermission):
                raise  # its power was switched already, and no rung opens a node
            except SwitchFailed as error:
                raise (trouble or error) from error
            except RigError as error:
                trouble = error
                if isinstance(error, TransferError) and error.gone and rungs:
                    rungs = [*last] or rungs  # nobody is there whom one could ask for a reset
        assert trouble is not None
        raise trouble

    def leave_healthy(self) -> list[HilError]:
        """Whatever the last test flashed, leave every board on an application that runs.

        Returns what went wrong with those that could not be mended.
        """

        def mend(board: CloudBoard) -> HilError | None:
            try:
                board.leave_healthy(self._good[board.name])
            except HilError as error:
                return error
            return None

        boards = [
            board
            for board in self.boards.values()
            if board.name in self._good and self.pool.quarantined(board) is None
        ]
        return [trouble for trouble in side_by_side(mend, boards) if trouble is not None]

    def connect_network(self) -> Network | None:
        """A lease on the network service; ``None`` on a bench without one."""
        table = self.file.network
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

    def recorder(self) -> Recorder | None:
        """The packets of this run; ``None`` without a network service. Raises as :meth:`connect_network`."""
        if self._recorder is None:
            lease = self.connect_network()
            self._recorder = None if lease is None else Recorder(lease)
        return self._recorder

    def _make_board(self, slot: SlotTable, watcher: UsbWatcher) -> CloudBoard:
        return CloudBoard(slot, watcher, self.cloud, self.file)

    def _lease(self, slot: str) -> CloudBoard | None:
        if slot in self.boards:
            return self.boards[slot]
        try:
            board = self.pool.acquire_slot(slot)
        except HilError as error:
            self._troubles[slot] = error
            return None
        if not isinstance(board, CloudBoard):
            raise UsageError(f"{board} does not know a cloud")
        self.boards[slot] = board
        return board

    def _try(self, board: CloudBoard, image: Image | None) -> HilError | None:
        try:
            self.make_ready(board, image)
        except HilError as error:
            return error
        return None


def _joined(troubles: Iterable[HilError], count: int, slots: Sequence[str]) -> HilError:
    """One error for several boards that cannot be had; a single one keeps its own."""
    found = list(troubles)
    if len(found) == 1:
        return found[0]
    return BoardNotFound(
        f"{count} of the boards {', '.join(slots)} are needed" if count > 1 else "no board can be had",
        expected=f"{count} of {', '.join(slots)}",
        found="; ".join(error.what for error in found) or "too few slots",
        hint="`hil boards` shows the state of each slot",
    )
