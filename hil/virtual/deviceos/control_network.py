"""Control requests about the Wi-Fi networks of an Argon: 500 to 507.

Facts: USB fact sheet 4.5 and 4.8 (what is stored, what joining does), protocol fact sheet 11.6 (who answers). A virtual
radio is a cable: there is one network in the air, and it takes any password.
"""

from __future__ import annotations

from collections.abc import Callable

from hil.device.families import ControlSet
from hil.device.platforms import Radio
from hil.device.protobuf import Fields, Writer
from hil.device.releases import version_tuple
from hil.device.requests import ControlRequest
from hil.device.results import Result
from hil.virtual.deviceos.control import Reply
from hil.virtual.deviceos.control_cellular import CellularRequests
from hil.virtual.deviceos.control_interfaces import InterfaceRequests
from hil.virtual.hardware.machine import Machine
from hil.virtual.hardware.stored import NETWORK_IN_THE_AIR, WifiNetwork

_SSID_MAX = 32
_NETWORKS_MAX = 10
_STORE_ONLY_SINCE = (5, 8, 0)
_NO_CREDENTIALS, _PASSWORD = 0, 1
_WPA2, _CHANNEL, _RSSI = 3, 6, -42
_BSSID = bytes.fromhex("0200c0a80001")


def network_requests(machine: Machine) -> dict[int, Callable[[bytes], Reply]]:
    """All requests about networks that ``machine`` knows: none on Gen 2."""
    if machine.platform.family.control is not ControlSet.NETWORK:
        return {}
    cellular = machine.platform.radio is Radio.CELLULAR
    radio = CellularRequests(machine) if cellular else WifiRequests(machine)
    return InterfaceRequests(machine).handlers() | radio.handlers()


class WifiRequests:
    """Requests 500 to 507 of one board."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def handlers(self) -> dict[int, Callable[[bytes], Reply]]:
        """Those that this board's Device OS knows."""
        known: dict[int, Callable[[bytes], Reply]] = {
            ControlRequest.WIFI_JOIN_NEW: self._join_new,
            ControlRequest.WIFI_JOIN_KNOWN: self._join_known,
            ControlRequest.WIFI_KNOWN: self._known,
            ControlRequest.WIFI_REMOVE: self._remove,
            ControlRequest.WIFI_CLEAR: self._clear,
            ControlRequest.WIFI_CURRENT: self._current,
            ControlRequest.WIFI_SCAN: self._scan,
        }
        if version_tuple(self._machine.device_os) >= _STORE_ONLY_SINCE:
            known[ControlRequest.WIFI_STORE] = self._store
        return known

    def _join_new(self, payload: bytes) -> Reply:
        """Joining stores a network; one that is not there is not stored."""
        before = list(self._machine.stored.networks)
        reply = self._store(payload)
        if reply.result == 0:
            reply = self._join(Fields(payload).text(1))
            if reply.result != 0:
                self._keep(before)
        return reply

    def _store(self, payload: bytes) -> Reply:
        fields = Fields(payload)
        ssid, credentials = fields.text(1), Fields(fields.data(4))
        if not 0 < len(ssid.encode()) <= _SSID_MAX:
            return Reply(Result.INVALID_ARGUMENT)
        if credentials.uint(1) not in (_NO_CREDENTIALS, _PASSWORD):
            return Reply(Result.NOT_SUPPORTED)
        self._put(WifiNetwork(ssid, fields.uint(3), credentials.text(2)))
        return Reply()

    def _join_known(self, payload: bytes) -> Reply:
        return self._join(Fields(payload).text(1))

    def _join(self, ssid: str) -> Reply:
        """What was joined is first in the list from then on."""
        known = [network for network in self._machine.stored.networks if network.ssid == ssid]
        if not known or ssid != NETWORK_IN_THE_AIR:
            return Reply(Result.NOT_FOUND)
        self._keep([*known, *self._others(ssid)])
        self._machine.associate()
        return Reply()

    def _known(self, _payload: bytes) -> Reply:
        reply = Writer()
        for network in self._machine.stored.networks:
            kind = _PASSWORD if network.password else _NO_CREDENTIALS
            reply.message(1, Writer().text(1, network.ssid).uint(2, network.security).uint(3, kind))
        return Reply(data=reply.finish())

    def _remove(self, payload: bytes) -> Reply:
        """A network that is not known is no error; the one in use stays in use until the next start."""
        self._keep(self._others(Fields(payload).text(1)))
        return Reply()

    def _clear(self, _payload: bytes) -> Reply:
        self._keep([])
        return Reply()

    def _current(self, _payload: bytes) -> Reply:
        if not self._machine.wifi_network:
            return Reply(Result.INVALID_STATE)
        reply = Writer().text(1, self._machine.wifi_network).data(2, _BSSID)
        return Reply(data=reply.uint(3, _CHANNEL).signed(4, _RSSI).finish())

    def _scan(self, _payload: bytes) -> Reply:
        network = Writer().text(1, NETWORK_IN_THE_AIR).data(2, _BSSID).uint(3, _WPA2)
        return Reply(data=Writer().message(1, network.uint(4, _CHANNEL).signed(5, _RSSI)).finish())

    def _others(self, ssid: str) -> list[WifiNetwork]:
        return [network for network in self._machine.stored.networks if network.ssid != ssid]

    def _put(self, network: WifiNetwork) -> None:
        """A known one in its place, a new one at the end, which the last gives up when the list is full."""
        networks = self._machine.stored.networks
        if network.ssid in (known.ssid for known in networks):
            self._keep([network if known.ssid == network.ssid else known for known in networks])
        else:
            self._keep([*networks[: _NETWORKS_MAX - 1], network])

    def _keep(self, networks: list[WifiNetwork]) -> None:
        self._machine.stored.networks = networks
        self._machine.save_stored()
