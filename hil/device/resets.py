"""Why a device has reset, by the number that it gives (protocol fact sheet 3.8)."""

from __future__ import annotations

from collections.abc import Mapping

RESET_REASONS: Mapping[int, str] = {
    10: "a cause that it does not know",
    20: "its RESET pin",
    30: "its low-power wake-up",
    40: "a loss of power",
    50: "a brownout",
    60: "its watchdog",
    70: "an update",
    80: "a failed update",
    90: "an update that stood still",
    100: "a factory reset",
    110: "safe mode",
    120: "DFU mode",
    130: "a panic",
    140: "its application",
    150: "a new configuration",
}
