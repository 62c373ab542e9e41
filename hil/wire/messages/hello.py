"""The device's Hello: who it is and what it can do (protocol fact sheet 3.2, 11.1).

Four shapes exist: TCP before 3.0 (8 bytes of payload, no device id), TCP 3.x (20, empty id, limits), UDP
before 3.0 (22, id) and UDP from 3.0 on (32, id and limits).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntFlag

from hil.errors import UsageError, WireError
from hil.wire.coap.message import Code, Message, Type
from hil.wire.messages.path import named_request, path_options

_HEAD = struct.Struct(">HHHH")
_ID_LENGTH = struct.Struct(">H")
_LIMITS = struct.Struct(">HHIH")


class HelloFlag(IntFlag):
    """What a device says about itself in its Hello."""

    OTA_SUCCEEDED = 0x01
    DIAGNOSTICS = 0x02
    IMMEDIATE_UPDATES = 0x04
    HANDSHAKE_COMPLETE = 0x08
    GOODBYE = 0x10
    DEVICE_DESCRIBES = 0x20
    COMPRESSED_OTA = 0x40
    OTA_V3 = 0x80


@dataclass(frozen=True, slots=True)
class Hello:
    """The content of a Hello.

    ``product_version`` is 0xFFFF when the firmware sets none. ``device_id`` is ``None`` on TCP, where the
    handshake has told it. The four limits (``max_message``, ``max_binary``, ``chunk_size`` in bytes) come
    together from Device OS 3.0 on, else all are ``None``.
    """

    product_id: int
    product_version: int
    flags: HelloFlag
    platform_id: int
    device_id: bytes | None = None
    system_version: int | None = None
    max_message: int | None = None
    max_binary: int | None = None
    chunk_size: int | None = None

    def encode(self) -> bytes:
        """The payload. Raises ``UsageError`` when only some of the limits are there or one does not fit."""
        limits = (self.system_version, self.max_message, self.max_binary, self.chunk_size)
        present = [value for value in limits if value is not None]
        if present and len(present) < len(limits):
            raise UsageError("Hello", expected="all four limits or none", found=repr(self))
        try:
            head = _HEAD.pack(self.product_id, self.product_version, self.flags, self.platform_id)
            tail = _LIMITS.pack(*present) if present else b""
        except struct.error as error:
            raise UsageError("Hello", expected="numbers that fit their fields", found=repr(self)) from error
        if self.device_id is None and not present:
            return head
        device_id = self.device_id or b""
        return head + _ID_LENGTH.pack(len(device_id)) + device_id + tail

    @classmethod
    def decode(cls, payload: bytes) -> Hello:
        """The Hello in ``payload``. Fields of later versions behind the known ones are passed over.

        Raises ``WireError``.
        """
        if len(payload) < _HEAD.size:
            raise WireError(
                "Hello is too short", expected="at least 8 bytes", found=payload.hex() or "nothing"
            )
        product_id, product_version, flags, platform_id = _HEAD.unpack_from(payload)
        device_id, limits = _decode_tail(payload[_HEAD.size :])
        return cls(product_id, product_version, HelloFlag(flags), platform_id, device_id, *limits)

    @classmethod
    def parse(cls, message: Message) -> Hello:
        """The Hello that a device's ``POST /h`` carries. Raises ``WireError``."""
        named_request(message, Code.POST, "h")
        return cls.decode(message.payload)

    def message(self, mid: int, confirmable: bool) -> Message:
        """The Hello as a device sends it: confirmable on UDP, not on TCP."""
        type_ = Type.CON if confirmable else Type.NON
        return Message(type_, Code.POST, mid, options=path_options("h"), payload=self.encode())


def _decode_tail(tail: bytes) -> tuple[bytes | None, tuple[int, ...]]:
    """The device id and the limits in what follows the platform id."""
    if not tail:
        return None, ()
    if len(tail) < _ID_LENGTH.size:
        raise WireError("Hello ends inside the length of the device id", found=tail.hex())
    end = _ID_LENGTH.size + tail[1]
    if len(tail) < end or tail[1] not in (0, 12):
        raise WireError("device id in Hello", expected="0 or 12 bytes, all there", found=tail.hex())
    device_id = tail[_ID_LENGTH.size : end] or None
    limits = tail[end:]
    if not limits:
        return device_id, ()
    if len(limits) < _LIMITS.size:
        raise WireError("Hello ends inside its limits", expected="10 bytes", found=limits.hex())
    return device_id, _LIMITS.unpack_from(limits)
