"""Moving a clock: all its parts stand still, step from one due time to the next together, and go on.

A part is the clock in one process. Phase one holds them all; phase two takes them to the next moment at which
something is due in any of them, as often as it takes until nothing more happens there (one part's timer sends a
datagram, another's answer arms a timer); then all run again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from hil.clock.types import ClockError

_LOG = logging.getLogger(__name__)
_ROUNDS = 2000  # at one moment; more of them do not end
_QUIET_ROUNDS = 2
_PAUSE = 0.001  # real seconds in which datagrams and threads may still be on their way

Answer = TypeVar("Answer")


class PartGone(ClockError):
    """The process that followed has ended."""


@dataclass(frozen=True, slots=True)
class Report:
    """A part at one moment. ``changes`` has grown when something happened; ``due`` is when something will.

    ``alone``: nothing here waits for anything outside its own timers.
    """

    changes: int
    due: float | None
    fired: int = 0
    alone: bool = False


class Part(Protocol):
    """The clock in one process. Each may raise ``PartGone``, or ``ClockError`` when it does not come to rest."""

    @property
    def name(self) -> str:
        """Which process, in words."""

    def hold(self) -> float:
        """Stand still; returns at which moment (monotonic seconds)."""

    def step(self, moment: float) -> Report:
        """Stand at ``moment``, do all that is due and come to rest."""

    def run(self, shift: float) -> None:
        """Go on at real pace, ``shift`` seconds ahead of ``time.monotonic()``, which all processes share."""


@dataclass(frozen=True, slots=True)
class Advanced:
    """What an advance did: ``fired`` timers in all; ``lost`` are followers that ended on the way, in words."""

    fired: int
    lost: tuple[str, ...] = ()


class Parts:
    """What moves together: first the leader's own part, then the followers in the order in which they joined."""

    def __init__(self, own: Part, *, stands: bool) -> None:
        self._own = own
        self._stands = stands
        self._followers: list[Part] = []
        self._moving = threading.RLock()
        self._lost: list[str] = []

    @property
    def names(self) -> list[str]:
        """The followers."""
        return [part.name for part in tuple(self._followers)]

    def join(self, make: Callable[[], Part]) -> Part:
        """A follower joins, made between two advances."""
        with self._moving:
            part = make()
            self._followers.append(part)
            return part

    def leave(self, part: Part) -> None:
        """A follower ended by itself."""
        with self._moving:
            if part in self._followers:
                self._followers.remove(part)

    def advance(self, seconds: float) -> Advanced:
        """Move everything ``seconds`` on, and return when all that was due has happened.

        Raises ``ClockError``: a follower did not answer (it is dropped, the others go on), or timers never end.
        """
        if not seconds > 0:
            raise ClockError(
                "a clock only goes forward", expected="more than 0 seconds", found=f"{seconds:g}"
            )
        with self._moving:
            self._lost = []
            try:
                moment = self._hold()
                fired = self._travel(moment, moment + seconds)
            finally:
                if not self._stands:
                    self._run()
            return Advanced(fired, tuple(self._lost))

    def _hold(self) -> float:
        """The latest of all: no part may go back."""
        return max(self._each(lambda part: part.hold()))

    def _travel(self, moment: float, target: float) -> int:
        total = 0
        while True:
            fired, due = self._rest(moment)
            total += fired
            if moment >= target:
                return total
            moment = target if due is None else min(due, target)

    def _rest(self, moment: float) -> tuple[int, float | None]:
        """Let everything happen at ``moment``; how many timers fired, and when the next one is due."""
        before, quiet, fired = -1, 0, 0
        for _ in range(_ROUNDS):
            reports = self._each(lambda part: part.step(moment))
            fired += sum(report.fired for report in reports)
            changes = sum(report.changes for report in reports)
            due = min((report.due for report in reports if report.due is not None), default=None)
            if changes != before or (due is not None and due <= moment):
                before, quiet = changes, 0
                continue
            quiet += 1
            if quiet > _QUIET_ROUNDS or all(report.alone for report in reports):
                return fired, due
            time.sleep(_PAUSE)
        raise ClockError(
            "there is always something more to do at one moment",
            found=f"{fired} timers fired there",
            hint="a timer that arms itself again needs a delay",
        )

    def _run(self) -> None:
        """Everybody goes on, whatever became of the others."""
        shift = self._own.hold() - time.monotonic()
        self._own.run(shift)
        for part in tuple(self._followers):
            try:
                part.run(shift)
            except ClockError as error:
                self._drop(part, error.what)

    def _each(self, ask: Callable[[Part], Answer]) -> list[Answer]:
        answers = [ask(self._own)]
        for part in tuple(self._followers):
            try:
                answers.append(ask(part))
            except PartGone as error:
                self._drop(part, error.what)
            except ClockError as error:
                self._drop(part, error.what)
                raise
        return answers

    def _drop(self, part: Part, why: str) -> None:
        self._followers.remove(part)
        self._lost.append(why)
        _LOG.warning("the clock goes on without a follower: %s", why)
