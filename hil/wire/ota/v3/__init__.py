"""OTA protocol V3: Gen 3 boards from Device OS 3.0.0 on.

Facts: protocol fact sheet 4.2, 8.7, 10 and 11.5. The parts live in ``ota_v3_messages``, ``ota_v3_windows``,
``ota_v3_sender`` and ``ota_v3_receiver``.
"""

from __future__ import annotations

from hil.wire.ota.v3.receiver import V3Receiver
from hil.wire.ota.v3.sender import V3Sender

__all__ = ["V3Receiver", "V3Sender"]
