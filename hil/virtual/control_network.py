"""Control requests about the radio: Wi-Fi networks of an Argon, the SIM of Gen 3 cellular boards.

Facts: USB fact sheet 4.5 (500 to 507, 554) and protocol fact sheet 11.6 (who answers). A virtual radio is a cable: it
sees no networks, and joining one stores it. What the fact sheet gives no message for (400, 401, 502, 505, 550 to 553)
is answered as not supported.
"""

from __future__ import annotations

from collections.abc import Callable

from hil.platforms import Radio, version_tuple
from hil.virtual.control import Reply
from hil.virtual.machine import Machine, WifiNetwork
from hil.wire.protobuf import Fields, Writer

_NOT_FOUND = Reply(-170)
_INVALID_ARGUMENT = Reply(-270)
_SSID_MAX = 32
_STORE_ONLY_SINCE = (5, 8, 0)


class NetworkRequests:
    """Requests 500 to 507 and 554 of one board."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def handlers(self) -> dict[int, Callable[[bytes], Reply]]:
        """Those that this board knows."""
        platform = self._machine.platform
        if not platform.is_gen3:
            return {}
        if platform.radio is Radio.CELLULAR:
            return {554: self._sim}
        version = version_tuple(self._machine.device_os)
        known: dict[int, Callable[[bytes], Reply]] = {
            500: self._store,
            501: self._join_known,
            503: self._remove,
            504: self._clear,
            506: lambda _: Reply(),
        }
        if version >= _STORE_ONLY_SINCE:
            known[507] = self._store
        return known

    def _store(self, payload: bytes) -> Reply:
        fields = Fields(payload)
        ssid = fields.text(1)
        if not 0 < len(ssid.encode()) <= _SSID_MAX:
            return _INVALID_ARGUMENT
        password = Fields(fields.data(4)).text(2)
        self._keep([*self._others(ssid), WifiNetwork(ssid, fields.uint(3), password)])
        return Reply()

    def _join_known(self, payload: bytes) -> Reply:
        ssid = Fields(payload).text(1)
        return (
            Reply() if any(network.ssid == ssid for network in self._machine.stored.networks) else _NOT_FOUND
        )

    def _remove(self, payload: bytes) -> Reply:
        ssid = Fields(payload).text(1)
        left = self._others(ssid)
        if len(left) == len(self._machine.stored.networks):
            return _NOT_FOUND
        self._keep(left)
        return Reply()

    def _clear(self, _payload: bytes) -> Reply:
        self._keep([])
        return Reply()

    def _sim(self, _payload: bytes) -> Reply:
        return Reply(data=Writer().text(1, self._machine.iccid).text(2, self._machine.imei).finish())

    def _others(self, ssid: str) -> list[WifiNetwork]:
        return [network for network in self._machine.stored.networks if network.ssid != ssid]

    def _keep(self, networks: list[WifiNetwork]) -> None:
        self._machine.stored.networks = networks
        self._machine.save_stored()
