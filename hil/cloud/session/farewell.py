"""A device's goodbye in words (protocol fact sheet 3.9)."""

from __future__ import annotations

from collections.abc import Mapping

from hil.device.resets import RESET_REASONS
from hil.wire.messages import CloudReason, Goodbye, NetworkReason

_LEAVES: Mapping[int, str] = {
    CloudReason.ERROR: "after an error",
    CloudReason.USER: "its application disconnects",
    CloudReason.NETWORK: "it leaves the network",
    CloudReason.LISTENING: "it goes into listening mode",
    CloudReason.RESET: "it resets",
    CloudReason.SLEEP: "it goes to sleep",
    CloudReason.UNKNOWN: "for no reason that it knows",
    CloudReason.SERVER_MOVED: "it is told of another server",
}
_LEAVES_NETWORK: Mapping[int, str] = {
    NetworkReason.ERROR: "network error",
    NetworkReason.USER: "its application leaves the network",
    NetworkReason.OFF: "its radio goes off",
    NetworkReason.LISTENING: "its radio is for listening mode",
    NetworkReason.SLEEP: "its radio sleeps",
    NetworkReason.RESET: "its radio resets",
    NetworkReason.UNKNOWN: "for no network reason that it knows",
}


def in_words(content: Goodbye) -> str:
    """``goodbye, it resets, reset by its application``; numbers that no table knows stay numbers."""
    words = ["goodbye"]
    if content.cloud_reason is not None:
        words.append(_LEAVES.get(content.cloud_reason, f"cloud reason {content.cloud_reason}"))
    if content.reset_reason is not None:
        words.append(f"reset by {RESET_REASONS.get(content.reset_reason, f'reason {content.reset_reason}')}")
    if content.sleep_seconds is not None:
        words.append(f"back in {content.sleep_seconds} s")
    if content.network_reason is not None:
        words.append(_LEAVES_NETWORK.get(content.network_reason, f"network reason {content.network_reason}"))
    return ", ".join(words)
