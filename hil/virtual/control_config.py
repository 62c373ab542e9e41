"""Control requests that read and change configuration: claim code, setup flag, keys and server.

Facts: USB fact sheet 4.5 (messages, key numbers) and protocol fact sheet 11.6 (210 to 223 are Gen 2's).
"""

from __future__ import annotations

from collections.abc import Callable

from hil.platforms import Platform, Transport, version_tuple
from hil.virtual.control import Reply
from hil.virtual.machine import Machine
from hil.virtual.settings import KeyType
from hil.wire.keys import ServerAddress
from hil.wire.protobuf import Fields, Writer

_NOT_SUPPORTED = Reply(-120)
_NOT_FOUND = Reply(-170)
_INVALID_ARGUMENT = Reply(-270)
_CLAIM_CODE_MAX = 63
_TRANSPORTS = {1: Transport.TCP, 2: Transport.DTLS}
_LAST_GEN2 = (4, 0, 0)


class ConfigRequests:
    """Requests 73, 74, 200, 201 and 210 to 223 of one board."""

    def __init__(self, machine: Machine) -> None:
        self._settings = machine.settings
        self._platform: Platform = machine.platform
        self._version = version_tuple(machine.device_os)

    def handlers(self) -> dict[int, Callable[[bytes], Reply]]:
        """Those that this board knows."""
        known: dict[int, Callable[[bytes], Reply]] = {200: self._set_claim_code, 201: self._is_claimed}
        if self._platform.is_gen3:
            known |= {73: self._set_setup_done, 74: self._is_setup_done}
        elif self._version < _LAST_GEN2:
            known |= {
                210: self._set_key,
                211: self._get_key,
                220: self._set_address,
                221: self._get_address,
                222: self._set_protocol,
                223: self._get_protocol,
            }
        return known

    def _set_claim_code(self, payload: bytes) -> Reply:
        code = Fields(payload).text(1)
        if len(code) > _CLAIM_CODE_MAX or not code.isascii():
            return _INVALID_ARGUMENT
        self._settings.claim_code = code or None
        return Reply()

    def _is_claimed(self, _payload: bytes) -> Reply:
        return Reply(data=Writer().uint(1, int(self._settings.claimed)).finish())

    def _set_setup_done(self, payload: bytes) -> Reply:
        done = bool(Fields(payload).uint(1))
        if self._version >= (4, 0, 0):
            return Reply() if done else _NOT_SUPPORTED
        self._settings.setup_done = done
        return Reply()

    def _is_setup_done(self, _payload: bytes) -> Reply:
        done = self._version >= (4, 0, 0) or self._settings.setup_done
        return Reply(data=Writer().uint(1, int(done)).finish())

    def _set_key(self, payload: bytes) -> Reply:
        fields = Fields(payload)
        kind = _key_type(fields.uint(1))
        der = fields.data(2)
        if kind is None or not der:
            return _INVALID_ARGUMENT
        self._settings.set_key(kind, der)
        return Reply()

    def _get_key(self, payload: bytes) -> Reply:
        kind = _key_type(Fields(payload).uint(1))
        if kind is None:
            return _INVALID_ARGUMENT
        der = self._settings.key(kind)
        return Reply(data=Writer().data(1, der).finish()) if der else _NOT_FOUND

    def _set_address(self, payload: bytes) -> Reply:
        fields = Fields(payload)
        transport = _TRANSPORTS.get(fields.uint(1))
        host, port = fields.text(2), fields.signed(3)
        if transport is None or not 0 <= port <= 0xFFFF:
            return _INVALID_ARGUMENT
        self._settings.set_address(transport, ServerAddress(host, port or None))
        return Reply()

    def _get_address(self, payload: bytes) -> Reply:
        transport = _TRANSPORTS.get(Fields(payload).uint(1))
        if transport is None:
            return _INVALID_ARGUMENT
        address = self._settings.stored_address(transport)
        if address is None:
            return _NOT_FOUND
        return Reply(data=Writer().text(1, address.host).signed(2, address.port or 0).finish())

    def _set_protocol(self, payload: bytes) -> Reply:
        """Choosing the other transport is refused: a virtual Electron speaks UDP only."""
        chosen = _TRANSPORTS.get(Fields(payload).uint(1))
        if chosen is None:
            return _INVALID_ARGUMENT
        return Reply() if chosen is self._platform.transport else _NOT_SUPPORTED

    def _get_protocol(self, _payload: bytes) -> Reply:
        number = 1 if self._platform.transport is Transport.TCP else 2
        return Reply(data=Writer().uint(1, number).finish())


def _key_type(number: int) -> KeyType | None:
    return KeyType(number) if number in KeyType._value2member_map_ else None
