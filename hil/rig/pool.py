"""Who uses which board: leases, health, quarantine, and why a board cannot be had.

A lease is a lock on the board's USB port path, so it holds between processes. A board that fails its health check,
or keeps failing as a piece of equipment, is set aside with the reason and the next one is taken.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from hil.device.platforms import UsbMode
from hil.errors import BoardNotFound, RigError
from hil.rig.board import Board
from hil.rig.locks import BoardHeld, PortLock
from hil.rig.rigfile import RigFile, SlotTable
from hil.usb.discovery import UsbWatcher
from hil.usb.sysfs import UsbBoard

_log = logging.getLogger(__name__)
STRIKES = 2  # rig failures in a row that put a board into quarantine


class SlotState(StrEnum):
    """What can be done with a slot now."""

    FREE = "free"
    LEASED = "leased"  # by this process
    HELD = "held"  # by another one
    QUARANTINED = "quarantined"
    EMPTY = "empty"


@dataclass(frozen=True, slots=True)
class SlotStatus:
    """A slot as it is now; ``why`` explains every state but free."""

    slot: SlotTable
    state: SlotState
    why: str
    usb: UsbBoard | None


@dataclass(slots=True)
class _Place:
    """A slot and what this process knows of it."""

    slot: SlotTable
    board: Board
    lock: PortLock
    strikes: int = 0
    quarantine: str = ""


class BoardPool:
    """The boards of a rig. Use from one thread."""

    def __init__(
        self,
        rig: RigFile,
        watcher: UsbWatcher,
        make_board: Callable[[SlotTable, UsbWatcher], Board] = Board,
        make_lock: Callable[[str], PortLock] = PortLock,
    ) -> None:
        self.rig = rig
        self._watcher = watcher
        self._places = [_Place(slot, make_board(slot, watcher), make_lock(slot.port)) for slot in rig.slots]

    def switch_on(self, wanted: Collection[str]) -> None:
        """At the start of a run: power for each board that is not on USB and that nobody else uses.

        A run that was killed in the middle of a power cycle left it dark. The boards of slots ``wanted`` are waited
        for, all side by side; one that does not come is set aside with the reason.
        """
        dark = [place for place in self._places if not place.board.present]
        dark = [place for place in dark if place.slot.name in wanted or place.board.power.available]
        with ThreadPoolExecutor(max_workers=max(1, len(dark))) as workers:
            for _ in workers.map(lambda place: self._switch_on(place, place.slot.name in wanted), dark):
                pass

    def _switch_on(self, place: _Place, wanted: bool) -> None:
        try:
            place.lock.acquire()
        except BoardHeld:
            return  # its user has it dark for a reason
        try:
            if wanted:
                place.board.modes.reappear()
            else:
                place.board.power.on()
        except RigError as error:
            if wanted:
                self.quarantine(place.board, f"{error.what}: {error.found}")
            else:
                _log.warning("%s stays dark: %s", place.board, error.what)
        finally:
            place.lock.release()

    def acquire(self, platform: str, features: Iterable[str] = (), within: float = 0.0) -> Board:
        """A healthy board of ``platform`` that has ``features``, open and in normal mode.

        Waits up to ``within`` seconds for one that is held. Raises ``BoardNotFound`` that says for each candidate why
        not.
        """
        wanted = frozenset(features)
        deadline = time.monotonic() + within
        while True:
            for place in self._candidates(platform, wanted):
                if self._take(place):
                    return place.board
            if time.monotonic() >= deadline:
                raise BoardNotFound(
                    self.why_not(platform, wanted), hint="`hil boards` shows the state of each slot"
                )
            time.sleep(0.1)

    def acquire_slot(self, name: str) -> Board:
        """The board of one slot, open and in normal mode. Raises ``BoardNotFound`` that says why not."""
        place = next(place for place in self._places if place.slot.name == name)
        if place.quarantine or not self._take(place):
            raise BoardNotFound(
                f"the board of slot {name} cannot be had",
                found=self._why(place, frozenset()),
                hint="`hil boards` shows the state of each slot",
            )
        return place.board

    @contextmanager
    def lease(self, platform: str, features: Iterable[str] = (), within: float = 0.0) -> Iterator[Board]:
        """A board for the length of a ``with`` block."""
        board = self.acquire(platform, features, within)
        try:
            yield board
        finally:
            self.release(board)

    def release(self, board: Board) -> None:
        """Give a board back, with its power on. Raises ``RigError`` when its switch fails, after that."""
        place = self._place(board)
        try:
            board.power.restore()
        finally:
            board.close()
            place.lock.release()

    def close(self) -> None:
        """Give all boards back. Raises the ``RigError`` of the first that stays dark, and was not set aside already."""
        troubles: list[RigError] = []
        for place in self._places:
            if place.lock.held:
                try:
                    self.release(place.board)
                except RigError as error:
                    if place.quarantine:
                        _log.warning("%s stays dark: %s", place.board, error.what)
                    else:
                        troubles.append(error)
        if troubles:
            raise troubles[0]

    def quarantine(self, board: Board, reason: str) -> None:
        """Set a board aside until the end of the run; its current lease goes on."""
        self._place(board).quarantine = f"{reason}, since {time.strftime('%H:%M')}"

    def quarantined(self, board: Board) -> BoardNotFound | None:
        """The error with the reason when ``board`` was set aside."""
        reason = self._place(board).quarantine
        if not reason:
            return None
        return BoardNotFound(f"{board} is quarantined", found=reason, hint="mend the board and run again")

    def report(self, board: Board, *, rig_failure: str = "") -> None:
        """Tell how a test went for the board as equipment: failures in a row put it into quarantine."""
        place = self._place(board)
        place.strikes = place.strikes + 1 if rig_failure else 0
        if place.strikes >= STRIKES:
            self.quarantine(board, f"{rig_failure} ({place.strikes} times in a row)")

    def why_not(self, platform: str, features: Iterable[str] = ()) -> str:
        """Why no such board can be had now, naming each slot of the platform. Fit for a skip reason."""
        wanted = frozenset(features)
        article = "an" if platform[:1] in "aeiou" else "a"
        need = f"needs {article} {platform}" + (f" with {', '.join(sorted(wanted))}" if wanted else "")
        of_platform = [place for place in self._places if place.slot.platform == platform]
        if not of_platform:
            others = ", ".join(sorted({slot.platform for slot in self.rig.slots}))
            return f"{need}; rig {self.rig.name} has none (it has {others})"
        return f"{need}; rig {self.rig.name}: " + "; ".join(self._why(place, wanted) for place in of_platform)

    def offers(self, platform: str, features: Iterable[str] = ()) -> bool:
        """Whether the rig file has such a slot at all, whatever its state."""
        return any(self._suits(place.slot, platform, frozenset(features)) for place in self._places)

    def status(self) -> list[SlotStatus]:
        """Each slot as it is now."""
        return [self._status(place) for place in self._places]

    def strangers(self) -> list[UsbBoard]:
        """Boards on USB at ports that no slot names."""
        ports = {slot.port for slot in self.rig.slots}
        return [board for board in self._watcher.boards() if board.port not in ports]

    def _candidates(self, platform: str, features: frozenset[str]) -> list[_Place]:
        """Suitable places, those with the fewest failures first."""
        suited = [place for place in self._places if self._suits(place.slot, platform, features)]
        return sorted((place for place in suited if not place.quarantine), key=lambda place: place.strikes)

    @staticmethod
    def _suits(slot: SlotTable, platform: str, features: frozenset[str]) -> bool:
        return slot.platform == platform and features <= slot.offers

    def _take(self, place: _Place) -> bool:
        """Lock the place and check its board; a board that fails is set aside."""
        if place.lock.held or self._watcher.at(place.slot.port) is None:
            return False
        try:
            place.lock.acquire()
        except BoardHeld:
            return False
        try:
            self._check(place.board)
        except RigError as error:
            hint = f"; {error.hint}" if error.hint else ""
            self.quarantine(place.board, f"health check: {error.what} ({error.found}){hint}")
            self.release(place.board)
            return False
        except BaseException:
            self.release(place.board)
            raise
        return True

    @staticmethod
    def _check(board: Board) -> None:
        """Bring the board to where every test starts: in normal mode, not listening, and known by name."""
        board.open()
        if board.usb.mode is UsbMode.DFU:
            board.leave_dfu()
        else:
            board.wait_ready(stable=0)
        board.identity.check()
        if board.has_control and board.is_listening():
            board.leave_listening()

    def _place(self, board: Board) -> _Place:
        return next(place for place in self._places if place.board is board)

    def _status(self, place: _Place) -> SlotStatus:
        usb = self._watcher.at(place.slot.port)
        if place.quarantine:
            return SlotStatus(place.slot, SlotState.QUARANTINED, place.quarantine, usb)
        if place.lock.held:
            return SlotStatus(place.slot, SlotState.LEASED, "leased by this process", usb)
        try:
            holder = place.lock.holder()
        except RigError as error:
            return SlotStatus(place.slot, SlotState.HELD, f"{error.what}: {error.found}", usb)
        if holder is not None:
            return SlotStatus(place.slot, SlotState.HELD, f"held by {holder}", usb)
        if usb is None:
            return SlotStatus(place.slot, SlotState.EMPTY, f"nothing at USB port {place.slot.port}", None)
        return SlotStatus(place.slot, SlotState.FREE, "", usb)

    def _why(self, place: _Place, features: frozenset[str]) -> str:
        lacking = features - place.slot.offers
        if lacking:
            return f"{place.slot.name} has no {', '.join(sorted(lacking))}"
        status = self._status(place)
        return f"{place.slot.name} is {status.state}" + (f" ({status.why})" if status.why else "")
