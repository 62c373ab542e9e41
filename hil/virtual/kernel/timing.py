"""How long a real kernel and udevd take over what happens on a bus, in seconds of real time.

Measured behind a Linux 6.1 (real kernel fact sheet 1, row 6; golden events ``ev took ...``): 0.5 s from plug to tty,
0.2 s from unplug until udev is through with it, 0.62 s between a board's leaving and its next face.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """``debounce``: a plug counts once it has been quiet for so long. ``enumeration``: resets, address, descriptors.
    ``recovery``: a port that lost a device does not look at the next one earlier. ``reset``: USBDEVFS_RESET.
    ``rules``: udev begins with an event so much later; ``rule``: each event; ``farewell``: more for an unplug.
    """

    debounce: float = 0.0
    enumeration: float = 0.0
    recovery: float = 0.0
    reset: float = 0.0
    rules: float = 0.0
    rule: float = 0.0
    farewell: float = 0.0

    @property
    def is_real(self) -> bool:
        """Whether the bus and udev work on their own threads, as nobody waits for them."""
        return self.debounce > 0


AT_ONCE = Timing()
REAL = Timing(
    debounce=0.1, enumeration=0.36, recovery=0.18, reset=0.28, rules=0.012, rule=0.006, farewell=0.12
)
