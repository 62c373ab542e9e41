"""How a control request travels: the services on endpoint 0 and the record that each of them answers with.

Facts: USB fact sheet 4.1 to 4.3 (services, records) and 4.6 (raw requests). The requests themselves are in
``hil.device.requests``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Final

from hil.errors import WireError

DEVICE_IN: Final = 0xC0  # bmRequestType of a vendor request to the device that reads
DEVICE_OUT: Final = 0x40  # and of one that writes
RECORD_LENGTH: Final = 64  # bytes that a host leaves for a record, at least
MAX_ACTIVE: Final = 4  # requests at a time


class Service(IntEnum):
    """bRequest of the service requests."""

    INIT = 1  # announce a request: value its size, index its id
    CHECK = 2  # how far is it: index its handle, as below
    SEND = 3
    RECV = 4
    RESET = 5  # drop it; index 0 drops all
    RAW = 0x50  # one request at once, without a handle: index its id


class Status(IntEnum):
    """The status field of a record."""

    OK = 0
    ERROR = 1
    PENDING = 2
    BUSY = 3
    NO_MEMORY = 4
    NOT_FOUND = 5


class _Has(IntFlag):
    STATUS = 1
    HANDLE = 2
    SIZE = 4
    RESULT = 8


@dataclass(frozen=True, slots=True)
class Record:
    """What a service answers. ``handle`` names the request, ``size`` is that of a reply that waits to be fetched.

    ``result`` is 0, a negative ``hil.device.results.Result`` or a positive number of the application.
    """

    status: Status
    handle: int | None = None
    size: int | None = None
    result: int | None = None

    def encode(self) -> bytes:
        """Flags, then the fields that are there."""
        flags, fields = _Has.STATUS, struct.pack("<H", self.status)
        for flag, layout, value in (
            (_Has.HANDLE, "<H", self.handle),
            (_Has.SIZE, "<I", self.size),
            (_Has.RESULT, "<i", self.result),
        ):
            if value is not None:
                flags |= flag
                fields += struct.pack(layout, value)
        return struct.pack("<I", flags) + fields

    @classmethod
    def decode(cls, data: bytes) -> Record:
        """Read a record. Raises ``WireError``."""
        if len(data) < 6:
            raise WireError("control reply is too short", expected="6 bytes or more", found=data.hex())
        flags, status = struct.unpack_from("<IH", data)
        values: dict[int, int] = {}
        place = 6
        for flag, layout in ((_Has.HANDLE, "<H"), (_Has.SIZE, "<I"), (_Has.RESULT, "<i")):
            if flags & flag:
                if place + struct.calcsize(layout) > len(data):
                    raise WireError(
                        "control reply is cut short",
                        expected=f"the fields of flags {flags}",
                        found=data.hex(),
                    )
                (values[flag],) = struct.unpack_from(layout, data, place)
                place += struct.calcsize(layout)
        if status not in tuple(Status):
            raise WireError("control reply has an unknown status", expected="0 to 5", found=str(status))
        return cls(Status(status), *(values.get(flag) for flag in (_Has.HANDLE, _Has.SIZE, _Has.RESULT)))
