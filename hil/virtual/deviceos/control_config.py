"""Control requests that read and change configuration: features, modes, protection, claim code, keys and server.

Facts: USB fact sheet 4.5 (messages, key numbers) and protocol fact sheet 11.6 (210 to 240 are Gen 2's). A string that
is too long for its field breaks the decoding of the message on a board: -280.
"""

from __future__ import annotations

from collections.abc import Callable

from hil.device.families import ControlSet
from hil.device.keys import ServerAddress
from hil.device.platforms import Platform, Transport
from hil.device.protobuf import Fields, Writer
from hil.device.releases import version_tuple
from hil.device.requests import ControlRequest, KeyType
from hil.device.results import Result
from hil.errors import WireError
from hil.virtual.deviceos.control import Reply
from hil.virtual.hardware.machine import Machine
from hil.virtual.hardware.settings import KEY_FIELDS

_CLAIM_CODE_MAX = 63
_HOST_MAX = 63
_SOFTAP_PREFIX_MAX, _SOFTAP_SUFFIX_MAX = 32, 16
_ETHERNET_DETECTION = 1
_LISTENING = 1
_NONCE_SIZE = 32
_TRANSPORTS = {1: Transport.TCP, 2: Transport.DTLS}
_LAST_GEN2 = (4, 0, 0)
_PROTECTION_SINCE = (6, 0, 0)


class ConfigRequests:
    """Requests 33, 34, 73 to 77, 200, 201 and 210 to 240 of one board."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._settings = machine.settings
        self._platform: Platform = machine.platform
        self._control = machine.platform.family.control
        self._version = version_tuple(machine.device_os)

    def handlers(self) -> dict[int, Callable[[bytes], Reply]]:
        """Those that this board knows."""
        known: dict[int, Callable[[bytes], Reply]] = {
            ControlRequest.SET_FEATURE: self._set_feature,
            ControlRequest.GET_FEATURE: self._get_feature,
            ControlRequest.SET_STARTUP_MODE: self._set_startup_mode,
            ControlRequest.SET_CLAIM_CODE: self._set_claim_code,
            ControlRequest.IS_CLAIMED: self._is_claimed,
        }
        if self._version >= _PROTECTION_SINCE:
            known |= {
                ControlRequest.PROTECTION_STATE: lambda _: Reply(),
                ControlRequest.CHANGE_PROTECTION: self._change_protection,
            }
        if self._control is ControlSet.NETWORK:
            known |= {
                ControlRequest.SET_SETUP_DONE: self._set_setup_done,
                ControlRequest.IS_SETUP_DONE: self._is_setup_done,
            }
        elif self._control is ControlSet.KEYS and self._version < _LAST_GEN2:
            known |= {
                ControlRequest.SET_KEY: self._set_key,
                ControlRequest.GET_KEY: self._get_key,
                ControlRequest.SET_SERVER: self._set_address,
                ControlRequest.GET_SERVER: self._get_address,
                ControlRequest.SET_PROTOCOL: self._set_protocol,
                ControlRequest.GET_PROTOCOL: self._get_protocol,
                ControlRequest.SET_SOFTAP_NAME: self._set_softap_name,
            }
        return known

    def _set_feature(self, payload: bytes) -> Reply:
        fields = Fields(payload)
        if self._control is not ControlSet.NETWORK or fields.uint(1) != _ETHERNET_DETECTION:
            return Reply(Result.NOT_SUPPORTED)
        self._machine.stored.ethernet_detection = bool(fields.uint(2))
        self._machine.save_stored()
        return Reply()

    def _get_feature(self, payload: bytes) -> Reply:
        if Fields(payload).uint(1) != _ETHERNET_DETECTION:
            return Reply(Result.NOT_SUPPORTED)
        return Reply(data=Writer().uint(1, int(self._machine.stored.ethernet_detection)).finish())

    def _set_startup_mode(self, payload: bytes) -> Reply:
        self._machine.stored.startup_listening = Fields(payload).uint(1) == _LISTENING
        self._machine.save_stored()
        return Reply()

    def _change_protection(self, payload: bytes) -> Reply:
        """A virtual board is open: there is nothing to change, and no change to confirm."""
        fields = Fields(payload)
        nonce = Fields(fields.data(2)).data(1)
        answers = {
            0: Reply(),
            1: Reply() if len(nonce) == _NONCE_SIZE else Reply(Result.INVALID_ARGUMENT),
            2: Reply(Result.INVALID_STATE),
        }
        return answers.get(fields.uint(1), Reply(Result.INVALID_ARGUMENT))

    def _set_claim_code(self, payload: bytes) -> Reply:
        code = _limited(payload, 1, _CLAIM_CODE_MAX)
        self._settings.claim_code = code or None
        return Reply()

    def _is_claimed(self, _payload: bytes) -> Reply:
        return Reply(data=Writer().uint(1, int(self._settings.claimed)).finish())

    def _set_setup_done(self, payload: bytes) -> Reply:
        done = bool(Fields(payload).uint(1))
        if self._version >= (4, 0, 0):
            return Reply() if done else Reply(Result.NOT_SUPPORTED)
        self._settings.setup_done = done
        return Reply()

    def _is_setup_done(self, _payload: bytes) -> Reply:
        done = self._version >= (4, 0, 0) or self._settings.setup_done
        return Reply(data=Writer().uint(1, int(done)).finish())

    def _set_key(self, payload: bytes) -> Reply:
        fields = Fields(payload)
        kind = _key_type(fields.uint(1))
        der = fields.data(2)
        if kind is None:
            return Reply(Result.NOT_SUPPORTED)
        if len(der) > KEY_FIELDS[kind].size:
            return Reply(Result.TOO_LARGE)
        self._settings.set_key(kind, der)
        return Reply()

    def _get_key(self, payload: bytes) -> Reply:
        """The whole field, however long the key in it is; what follows it is 0xFF."""
        kind = _key_type(Fields(payload).uint(1))
        if kind is None:
            return Reply(Result.NOT_SUPPORTED)
        return Reply(data=Writer().data(1, self._settings.key_field(kind)).finish())

    def _set_address(self, payload: bytes) -> Reply:
        fields = Fields(payload)
        transport = _TRANSPORTS.get(fields.uint(1))
        host, port = fields.text(2), fields.signed(3) & 0xFFFF
        if len(host.encode()) > _HOST_MAX:
            return Reply(Result.TOO_LARGE)
        if transport is None:
            return Reply(Result.NOT_SUPPORTED)
        self._settings.set_address(transport, ServerAddress(host, port or None))
        return Reply()

    def _get_address(self, payload: bytes) -> Reply:
        transport = _TRANSPORTS.get(Fields(payload).uint(1))
        if transport is None:
            return Reply(Result.NOT_SUPPORTED)
        address = self._settings.stored_address(transport)
        if address is None:
            return Reply(Result.NOT_FOUND)
        return Reply(data=Writer().text(1, address.host).signed(2, address.port or 0).finish())

    def _set_protocol(self, payload: bytes) -> Reply:
        """Choosing the other transport is refused: a virtual Electron speaks UDP only."""
        chosen = _TRANSPORTS.get(Fields(payload).uint(1))
        if chosen is self._platform.transport:
            return Reply()
        if chosen is not None:
            self._machine.log(f"protocol {chosen} refused: this board speaks {self._platform.transport}")
        return Reply(Result.NOT_SUPPORTED)

    def _get_protocol(self, _payload: bytes) -> Reply:
        number = 1 if self._platform.transport is Transport.TCP else 2
        return Reply(data=Writer().uint(1, number).finish())

    def _set_softap_name(self, payload: bytes) -> Reply:
        prefix = _limited(payload, 1, _SOFTAP_PREFIX_MAX)
        self._settings.set_softap_name(prefix, _limited(payload, 2, _SOFTAP_SUFFIX_MAX))
        return Reply()


def _limited(payload: bytes, field: int, longest: int) -> str:
    """A string field. Raises ``WireError`` for one that the board has no room for."""
    text = Fields(payload).text(field)
    if len(text.encode()) > longest:
        raise WireError(f"protobuf field {field}", expected=f"{longest} bytes at most", found=text)
    return text


def _key_type(number: int) -> KeyType | None:
    return KeyType(number) if number in KeyType._value2member_map_ else None
