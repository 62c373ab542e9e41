"""Result codes of Device OS: what a control request, an update or an application's request ends with.

Facts: USB fact sheet 4.4; the codes of updates (below -1300) from ``system_error.h``.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

# Not one of ``system_error_t``: what a driver says that has no code for its trouble.
UNSPECIFIED: Final = -1


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
    MODULE_NOT_FOUND = -1300
    VALIDATION_FAILED = -1320
    INTEGRITY_CHECK_FAILED = -1330
    RESUMED_UPDATE_FAILED = -1331
    DEPENDENCY_CHECK_FAILED = -1340
    INVALID_ADDRESS = -1350
    INVALID_SIZE = -1351
    INVALID_PLATFORM = -1360
    DEVICE_PROTECTED = -1801
    KEY_MISMATCH = -1802
    BAD_SIGNATURE = -1803


def result_name(result: int) -> str:
    """``"not supported (-120)"``; a code without a name is only a number."""
    try:
        return f"{Result(result).name.lower().replace('_', ' ')} ({result})"
    except ValueError:
        return str(result)
