"""Names of the result codes of control requests. USB fact sheet 4.4."""

from __future__ import annotations

from enum import IntEnum


class Result(IntEnum):
    """``system_error_t``; an application's own results are positive."""

    OK = 0
    UNKNOWN = -100
    BUSY = -110
    NOT_SUPPORTED = -120
    NOT_ALLOWED = -130
    CANCELLED = -140
    ABORTED = -150
    TIMEOUT = -160
    NOT_FOUND = -170
    ALREADY_EXISTS = -180
    TOO_LARGE = -190
    LIMIT_EXCEEDED = -200
    INVALID_STATE = -210
    IO = -220
    NETWORK = -230
    PROTOCOL = -240
    INTERNAL = -250
    NO_MEMORY = -260
    INVALID_ARGUMENT = -270
    BAD_DATA = -280
    OUT_OF_RANGE = -290
    DEVICE_PROTECTED = -1801
    KEY_MISMATCH = -1802
    BAD_SIGNATURE = -1803


def result_name(result: int) -> str:
    """``"not supported (-120)"``; a code without a name is only a number."""
    try:
        return f"{Result(result).name.lower().replace('_', ' ')} ({result})"
    except ValueError:
        return str(result)
