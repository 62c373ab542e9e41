"""The legacy chunked update protocol: Photon and P1, Electron, Gen 3 before 3.0.

Facts: protocol fact sheet 4.1, 8.7, 10 and 11.5. The two sides and their messages live in
``ota_legacy_sender``, ``ota_legacy_receiver`` and ``ota_legacy_messages``.
"""

from __future__ import annotations

from hil.wire.ota.legacy.receiver import LegacyReceiver
from hil.wire.ota.legacy.sender import LegacySender

__all__ = ["LegacyReceiver", "LegacySender"]
