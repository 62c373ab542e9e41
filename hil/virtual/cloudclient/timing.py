"""How long a board's cloud connection waits for what. Tests make it short; the rack leaves it alone."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """All in seconds. Figures: protocol fact sheet 1.5, 2.8, 2.9, 3.2, 3.4, 3.9 and 7."""

    ack_timeout: float = 4.0  # the first wait for the ACK of a confirmable message on UDP
    server_hello: float = 4.0  # for the cloud's Hello on TCP
    publish_ack: float = 20.0  # for the ACK of an event published "with ack"
    back_off: float = 1.0  # the pause after the first failed attempts
    goodbye: float = 5.0  # for the goodbye's ACK when the application goes offline
    reset_goodbye: float = 1.0  # the same before a reset or sleep
    ping_interval: float | None = None  # silence before a ping; None: as the board's profile says
    ping_timeout: float | None = None  # for any message after a ping; None: as the board's profile says
