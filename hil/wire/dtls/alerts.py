"""Alerts and the errors that cause them (protocol fact sheet 2.5)."""

from __future__ import annotations

from enum import IntEnum

from hil.errors import WireError

FATAL = 2
CLOSE_NOTIFY = b"\x01\x00"


class Alert(IntEnum):
    """Alert descriptions in use here."""

    CLOSE_NOTIFY = 0
    UNEXPECTED_MESSAGE = 10
    HANDSHAKE_FAILURE = 40
    BAD_CERTIFICATE = 42
    UNSUPPORTED_CERTIFICATE = 43
    ILLEGAL_PARAMETER = 47
    ACCESS_DENIED = 49
    DECODE_ERROR = 50
    DECRYPT_ERROR = 51


class HandshakeError(WireError):
    """A handshake that cannot go on; ``alert`` is what the peer is told."""

    def __init__(self, alert: Alert, what: str, *, expected: str = "", found: str = "") -> None:
        self.alert = alert
        super().__init__(what, expected=expected, found=found)


def fatal(alert: Alert) -> bytes:
    """Payload of a fatal alert record."""
    return bytes([FATAL, alert])


def describe_alert(payload: bytes) -> tuple[bool, str]:
    """Whether an alert ends the session, and how to say it. Malformed ones do not."""
    if len(payload) != 2:
        return False, f"malformed alert {payload.hex()}"
    level, number = payload
    try:
        name = Alert(number).name.lower()
    except ValueError:
        name = str(number)
    ends = level == FATAL or number == Alert.CLOSE_NOTIFY
    return ends, f"peer sent {'fatal ' if level == FATAL else ''}alert {number} ({name})"
