"""How long a device may say nothing, and what the cloud does about it: it asks before it gives a device up.

A device pings after its keep-alive of silence (protocol fact sheet 2.9), and twice that means offline (cloud API fact
sheet 2.3). What the keep-alive is the cloud only believes: an application may have set another one with
``Particle.keepAlive()``. So a quiet device is asked, early enough for a few attempts. Who answers several times in a
row has a longer keep-alive; how long it is, its next own ping tells. Once may be a ping that was lost.
"""

from __future__ import annotations

from collections.abc import Callable

from hil.clock import LoopClock, Timer
from hil.cloud.config import Timing
from hil.cloud.state.presence import CELLULAR_KEEP_ALIVE

SILENCE_FACTOR = 2  # keep-alive intervals of silence that mean offline (cloud API fact sheet 2.3)
ENOUGH = 3  # answers after silence, with no earlier ping between them, that teach a longer keep-alive
LONGEST_LEARNED = CELLULAR_KEEP_ALIVE  # seconds; no source names a longer keep-alive


class Silence:
    """The watch over one device's silence.

    ``told`` is the device's keep-alive in seconds when somebody has said so, ``usual`` that of its platform; ``ask``
    sends a ping; ``on_end`` hears why the device is given up.
    """

    def __init__(
        self,
        clock: LoopClock,
        timing: Timing,
        *,
        told: Callable[[], float | None],
        usual: Callable[[], float],
        ask: Callable[[], None],
        on_end: Callable[[str], None],
    ) -> None:
        self._clock = clock
        # All attempts of a ping fit in, and the last one has time for its answer.
        self._attempts: float = timing.ack_timeout * (2**timing.max_attempts - 1)
        self._told = told
        self._usual = usual
        self._ask = ask
        self._on_end = on_end
        self._timer: Timer | None = None
        self._heard_at: float | None = None
        self._asked = False
        self._learned = 0.0
        self._answered: list[float] = []  # after how many seconds

    @property
    def keep_alive(self) -> float:
        """Seconds after which the device pings when there is nothing to say, as far as anybody knows."""
        told = self._told()
        return max(self._usual(), self._learned) if told is None else told

    def heard(self, *, own_ping: bool) -> None:
        """The device said something; ``own_ping``: perhaps because it had been quiet for its keep-alive."""
        now = self._clock.monotonic()
        if self._heard_at is not None:
            self._learn(min(now - self._heard_at, LONGEST_LEARNED), own_ping)
        self._heard_at = now
        self.watch()

    def _learn(self, quiet: float, own_ping: bool) -> None:
        usual = self._usual()
        if self._asked:
            self._answered.append(quiet)
            if len(self._answered) == ENOUGH:
                self._learned = min(self._answered)
                self._answered.clear()
        elif own_ping and quiet > usual / 2:  # else it is one sent again, or about a network that changed
            self._answered.clear()
            self._learned = quiet if self._learned and quiet > self._doubtful(usual) else 0.0

    def forget(self) -> None:
        """The device begins anew, perhaps with another application."""
        self._learned, self._heard_at = 0.0, None
        self._answered.clear()

    def watch(self) -> None:
        """Silence begins now."""
        self.stop()
        keep_alive = self.keep_alive
        limit = SILENCE_FACTOR * keep_alive
        end = self._clock.monotonic() + limit
        doubt = end - limit + self._doubtful(keep_alive)
        self._timer = self._clock.call_at(doubt, self._doubt, end, f"silent for {limit:g} s")

    def _doubtful(self, keep_alive: float) -> float:
        """After how many seconds of silence a device with this keep-alive is asked."""
        return SILENCE_FACTOR * keep_alive - min(keep_alive / 2, self._attempts)

    def stop(self) -> None:
        """Nobody waits for the device any more."""
        self._asked = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _doubt(self, end: float, why: str) -> None:
        self._asked = True
        self._timer = self._clock.call_at(end, self._on_end, why)
        self._ask()
