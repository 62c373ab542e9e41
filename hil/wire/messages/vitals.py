"""Vitals: the metrics a device posts now and then or sends on request (protocol fact sheet 3.3, "Metrics").

Layout: a zero byte, then little-endian 16-bit words: 4 (the Describe flag), size of an id, size of a value;
then records of id (16 bits) and value (32 bits).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from hil.errors import UsageError, WireError

_HEADER = b"\x00" + struct.pack("<HHH", 4, 2, 4)
_RECORD = struct.Struct("<Hi")
_FAILED = 0x8000


class VitalId(IntEnum):
    """Sources of vitals by id; those from 32768 on belong to the application."""

    RESET_REASON = 1
    FREE_MEMORY = 2
    BATTERY_CHARGE = 3
    SYSTEM_LOOPS = 4
    APPLICATION_LOOPS = 5
    UPTIME = 6
    BATTERY_STATE = 7
    NETWORK_STATE = 8
    NETWORK_ERROR = 9
    CLOUD_STATE = 10
    NETWORK_DISCONNECTS = 12
    CLOUD_ERROR = 13
    CLOUD_DISCONNECTS = 14
    IPV4_ADDRESS = 15
    IPV4_GATEWAY = 16
    NETWORK_FLAGS = 17
    COUNTRY = 18
    RSSI = 19
    RATE_LIMITED_EVENTS = 20
    COAP_RETRANSMITS = 21
    COAP_UNACKNOWLEDGED = 22
    COAP_TRANSMITTED = 23
    POWER_SOURCE = 24
    TOTAL_RAM = 25
    USED_RAM = 26
    NETWORK_ATTEMPTS = 27
    NETWORK_DISCONNECT_REASON = 28
    CLOUD_ATTEMPTS = 29
    CLOUD_DISCONNECT_REASON = 30
    ROUND_TRIP_MS = 31
    SIGNAL_STRENGTH = 33
    SIGNAL_QUALITY = 34
    SIGNAL_QUALITY_VALUE = 35
    ACCESS_TECHNOLOGY = 36
    SIGNAL_STRENGTH_VALUE = 37
    CELL_COUNTRY_CODE = 40
    CELL_NETWORK_CODE = 41
    CELL_LOCATION_AREA = 42
    CELL_ID = 43
    CLOUD_INTERFACE = 44
    PROTECTED_STATE = 60


@dataclass(frozen=True, slots=True)
class Vital:
    """One metric: ``id`` without the error bit, ``value`` signed; a failed source's value is an error code."""

    id: int
    value: int
    failed: bool = False

    @property
    def unsigned(self) -> int:
        """The value's 32 bits as an unsigned integer, for addresses and counters."""
        return self.value & 0xFFFF_FFFF


def encode_vitals(vitals: Iterable[Vital]) -> bytes:
    """The payload of a metrics Describe. Raises ``UsageError`` for an id or value that does not fit.

    An application's id (from 32768) and the error bit are the same bit on the wire; such ids cannot be sent.
    """
    out = bytearray(_HEADER)
    for vital in vitals:
        if not 0 <= vital.id < _FAILED or not -(1 << 31) <= vital.value < 1 << 32:
            raise UsageError("vital", expected="id 0..32767, 32-bit value", found=repr(vital))
        signed = vital.value - (1 << 32) if vital.value >> 31 > 0 else vital.value
        out += _RECORD.pack(vital.id | (_FAILED if vital.failed else 0), signed)
    return bytes(out)


def decode_vitals(payload: bytes) -> tuple[Vital, ...]:
    """The metrics in a payload, in order. Raises ``WireError``."""
    records = payload[len(_HEADER) :]
    if not payload.startswith(_HEADER) or len(records) % _RECORD.size:
        raise WireError(
            "not a metrics payload",
            expected=f"{_HEADER.hex()} and records of 6 bytes",
            found=payload[:32].hex(),
        )
    return tuple(
        Vital(id_ & ~_FAILED, value, bool(id_ & _FAILED)) for id_, value in _RECORD.iter_unpack(records)
    )
